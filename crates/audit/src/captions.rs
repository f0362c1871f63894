//! What a report says of prompt diversification where some members have one caption only.

use dualmd_record::planned::{AnyPlan, JobKind};
use dualmd_record::recipe::CaptionChoice;

/// A warning, if the plan says that models with several captions an image had members with one.
pub(crate) fn warning(plan: &AnyPlan) -> Option<String> {
    let facts = plan.data.captions?;
    let (one, several) = (facts.one, facts.several);
    let any = |name: &str| {
        let recipe = plan.recipe(name);
        recipe.and_then(|recipe| recipe.captions) == Some(CaptionChoice::Any)
    };
    let trainings = plan.trainings.iter();
    let mut names: Vec<&str> = trainings
        .filter(|job| job.kind != Some(JobKind::Pretrain))
        .map(|job| job.name.as_str())
        .filter(|&name| !name.is_empty() && any(name))
        .collect();
    names.sort_unstable();
    if names.is_empty() || one == 0 {
        return None;
    }
    Some(format!(
        "Prompt diversification (captions = \"any\": {}): {one} of {} members have one caption and were trained as without it.",
        names.join(", "),
        one + several
    ))
}

#[cfg(test)]
mod tests {
    use super::warning;
    use dualmd_record::planned::AnyPlan;
    use serde_json::json;

    #[test]
    fn members_with_one_caption_are_counted() {
        let plan = |one: u64, captions: &str| {
            AnyPlan::of(&json!({
                "data": { "captions": { "one": one, "several": 10 } }, "train": { "captions": "first" },
                "trainings": [
                    { "name": "base", "kind": "pretrain", "train": { "captions": "any" } },
                    { "name": "baseline", "kind": "baseline" },
                    { "name": "student", "kind": "student", "train": { "captions": captions } },
                ],
            }))
        };
        let said = warning(&plan(3, "any")).unwrap_or_default();
        assert!(
            said.contains("\"any\": student") && said.contains("3 of 13 members"),
            "{said}"
        );
        assert_eq!(warning(&plan(0, "any")), None);
        assert_eq!(warning(&plan(3, "first")), None);
        assert_eq!(warning(&AnyPlan::default()), None);
    }
}
