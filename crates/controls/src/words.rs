//! The result in words.

use crate::features::{ALL, Description, FILE, PICTURE_FAMILIES, file};
use crate::judge::{FOLDS, Family, FamilyResult, LEVEL, PERMUTATIONS, REPEATS, auc};

/// The telling family to name first: the most telling by AUC that is not merely the sum of the others.
pub(crate) fn strongest(results: &[FamilyResult]) -> Option<&FamilyResult> {
    let telling = || results.iter().filter(|r| r.telling);
    telling()
        .filter(|r| r.name != ALL)
        .max_by(|a, b| a.auc.total_cmp(&b.auc))
        .or_else(|| telling().next())
}

fn advice(family: &str) -> &'static str {
    match family {
        "pixels" => {
            "brightness, contrast and colour of the two sets, and whether both hold the same mix of subjects or classes"
        }
        "texture" => {
            "whether one side was blurred, sharpened, denoised, compressed or scaled, or shows other subjects"
        }
        "jpeg" => "whether one side was saved as JPEG once more, or at another quality",
        "resize" => {
            "whether one side was stored at another size or scaled by another program or filter"
        }
        FILE => "format, dimensions and size of the original files",
        _ => "where the two sets come from: no family alone tells them apart",
    }
}

pub(crate) fn why(results: &[FamilyResult], contrasts: Option<&str>, log_deals: f64) -> String {
    let Some(strongest) = strongest(results) else {
        let p = results.iter().map(|r| r.p_value).fold(1.0, f64::min);
        let mut text = format!(
            "No family of features tells the sets apart beyond chance (smallest corrected p = {p:.2})."
        );
        // Fewer deals than 1 / LEVEL: no difference, however large, could reach the level.
        if log_deals < (1.0 / LEVEL).ln() {
            text.push_str(" With so few pictures or groups no difference could have been told from chance: this control says nothing here.");
        }
        return text;
    };
    let who = if strongest.name == ALL {
        "all families together tell".to_owned()
    } else {
        format!("{} alone tells", strongest.name)
    };
    let mut text = format!(
        "The sets differ in themselves: without the model, {who} members from non-members with AUC {:.2} (corrected p = {:.4}). Look at {}.",
        strongest.auc,
        strongest.p_value,
        advice(&strongest.name)
    );
    if let Some(contrasts) = contrasts {
        text.push_str(&format!(" Differ most: {contrasts}."));
    }
    let others: Vec<String> = results
        .iter()
        .filter(|r| r.telling && r.name != strongest.name && r.name != ALL)
        .map(|r| format!("{} ({:.2})", r.name, r.auc))
        .collect();
    if !others.is_empty() {
        text.push_str(&format!(" Also telling: {}.", others.join(", ")));
    }
    text
}

/// The features of a family that differ most, each with its means on the two sides.
pub(crate) fn contrasts(families: &[Family], name: &str, members: usize) -> String {
    const SHOWN: usize = 2;
    let Some(family) = families.iter().find(|f| f.name == name) else {
        return String::new();
    };
    let n = family.raw.len();
    let labels: Vec<bool> = (0..n).map(|i| i < members).collect();
    let column = |j: usize| -> Vec<f64> { family.raw.iter().map(|r| r[j]).collect() };
    let mut order: Vec<(f64, usize)> = (0..family.names.len())
        .map(|j| ((auc(&column(j), &labels) - 0.5).abs(), j))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let shown: Vec<String> = order
        .iter()
        .take(SHOWN)
        .map(|&(_, j)| {
            let values = column(j);
            let (inside, outside) = values.split_at(members.min(n));
            format!(
                "{} (members {:.3}, non-members {:.3})",
                family.names[j],
                mean(inside),
                mean(outside)
            )
        })
        .collect();
    shown.join("; ")
}

pub(crate) fn features(families: &[Family]) -> String {
    let mut parts: Vec<&str> = vec![
        "pixels: thumbnail, moments, quantiles and ends of the histogram",
        "texture: changes between neighbours at several scales, local variance, noise, repeated values",
        "jpeg: block borders at 8 phases, cosine coefficients by band, distance to their comb at 9 qualities",
        "resize: spectrum by band, change by detours to other sizes, rhythms, repeated blocks",
    ];
    debug_assert_eq!(parts.len(), PICTURE_FAMILIES.len());
    if families.iter().any(|f| f.name == FILE) {
        parts.push("file: format, dimensions and bytes of the original files");
    }
    let count = families.last().map_or(0, |f| f.x.columns);
    format!("{} ({count} that vary)", parts.join("; "))
}

pub(crate) fn method(folds: usize, grouped: bool) -> String {
    debug_assert!(folds <= FOLDS);
    format!(
        "ridge regression on standardised features, {folds}-fold cross-validation{}, scores averaged over {REPEATS} partitions; {PERMUTATIONS} permutations of the labels{} through the whole procedure, corrected for the number of families by their maximum (Westfall and Young); void at p <= {LEVEL}; never sees the model",
        if grouped {
            " that keeps groups together"
        } else {
            ""
        },
        if grouped { " of whole groups" } else { "" },
    )
}

/// What differs between the original files: each sentence is a permutation test of its own at [`LEVEL`], and none of
/// them decides over the audit; the family `file` does.
pub(crate) fn files(all: &[&Description], labellings: &[Vec<bool>]) -> Vec<String> {
    let files: Vec<_> = all.iter().filter_map(|d| d.file.as_ref()).collect();
    let mut out = Vec::new();
    let Some(observed) = labellings.first() else {
        return out;
    };
    if files.len() < all.len() {
        if !files.is_empty() {
            out.push(format!(
                "the original files are known of {} of {} pictures only, so they were not compared",
                files.len(),
                all.len()
            ));
        }
        return out;
    }
    for (what, of) in [
        ("format", file::format as fn(&_) -> String),
        ("dimensions", file::dimensions),
    ] {
        let values: Vec<String> = files.iter().map(|f| of(f)).collect();
        for value in file::frequent(&values) {
            let has: Vec<f64> = values.iter().map(|v| f64::from(*v == value)).collect();
            if differs(&has, labellings) {
                let (inside, outside) = means(&has, observed);
                out.push(format!(
                    "{:.0} % of member files and {:.0} % of non-member files are of {what} {value}",
                    inside * 100.0,
                    outside * 100.0
                ));
            }
        }
    }
    let density: Vec<f64> = files.iter().map(|f| file::density(f)).collect();
    if differs(&density, labellings) {
        let (inside, outside) = means(&density, observed);
        out.push(format!(
            "member files have {inside:.2} bytes per pixel on average, non-member files {outside:.2}"
        ));
    }
    out
}

/// Two-sided permutation test of the AUC of one feature.
fn differs(feature: &[f64], labellings: &[Vec<bool>]) -> bool {
    let distance = |labels: &Vec<bool>| (auc(feature, labels) - 0.5).abs();
    let Some(observed) = labellings.first().map(distance) else {
        return false;
    };
    let beyond = labellings
        .iter()
        .filter(|l| distance(l) >= observed - 1e-12)
        .count();
    beyond as f64 <= LEVEL * labellings.len() as f64
}

fn means(feature: &[f64], labels: &[bool]) -> (f64, f64) {
    let mean = |side: bool| {
        let of: Vec<f64> = feature
            .iter()
            .zip(labels)
            .filter(|(_, l)| **l == side)
            .map(|(v, _)| *v)
            .collect();
        of.iter().sum::<f64>() / of.len().max(1) as f64
    };
    (mean(true), mean(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, auc: f64, telling: bool) -> FamilyResult {
        FamilyResult {
            name: name.into(),
            auc,
            auc_ci: [auc - 0.05, auc + 0.05],
            p_value: if telling { 0.0025 } else { 0.4 },
            telling,
        }
    }

    #[test]
    fn a_single_family_is_named_before_all_together() {
        let results = [
            result("pixels", 0.52, false),
            result("jpeg", 0.9, true),
            result("resize", 0.7, true),
            result("all", 0.95, true),
        ];
        let text = why(&results, Some("x (members 1, non-members 2)"), 100.0);
        assert!(
            text.contains(
                "jpeg alone tells members from non-members with AUC 0.90 (corrected p = 0.0025)"
            ),
            "{text}"
        );
        assert!(
            text.contains("saved as JPEG once more")
                && text.contains("Also telling: resize (0.70)."),
            "{text}"
        );
        assert!(
            !text.contains("pixels (") && !text.contains("all ("),
            "{text}"
        );
    }

    #[test]
    fn all_together_is_named_when_no_family_tells() {
        let text = why(
            &[result("jpeg", 0.55, false), result("all", 0.6, true)],
            None,
            100.0,
        );
        assert!(
            text.contains("all families together tell") && !text.contains("alone tells members"),
            "{text}"
        );
    }

    #[test]
    fn no_difference_is_not_called_the_same() {
        let text = why(
            &[result("jpeg", 0.5, false), result("all", 0.5, false)],
            None,
            100.0,
        );
        assert_eq!(
            text,
            "No family of features tells the sets apart beyond chance (smallest corrected p = 0.40)."
        );
    }
}
