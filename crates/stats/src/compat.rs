//! The threshold rules of public attack codes: what they would have printed for the same scores.
//!
//! For a line beside a published number, **never the default**. The curve is exact or a grid, the target FPR may be
//! exceeded, and some codes count the non-members as the positives. What each rule does to the numbers, against the
//! exact step ROC of [`crate::Roc`] (FPR never above the target):
//!
//! | rule | public code | effect |
//! |---|---|---|
//! | `secmi` | SecMI, ReDiffuse | heavy tails fall into a few of its 2,000 cells: AUC and TPR are off in either direction. The nearest FPR may exceed the target; of the thresholds at that FPR it takes the one with the lowest TPR |
//! | `secmi-ldm` | SecMI-LDM | as above with 10,000 cells; no TPR |
//! | `pia` | PIA | TPR too low by one step wherever the target FPR is reachable exactly (it wants less) |
//! | `pw` | Pang & Wang, GSA | the nearest FPR may exceed the target; the lowest TPR at that FPR, so it may also be too low: where 0 is the nearest it prints 0 |
//! | `clid` | CLiD | the non-members are the positives: TPR is the share of *non-members* recognised when at least the target share of *members* is lost, one step too many |
//! | `copymark` | CopyMark | the grid's AUC; TPR too low by at most what the grid misses |
//! | `wen` | Wen et al. | as `pia` |
//! | `midm` | Hu & Pang | the target is kept, but the non-members are the positives |
//! | `jax-privacy` | JAX Privacy | convex hull: AUC and TPR of a classifier that flips coins, never below the exact ones |
//!
//! SimA prints the rule of PIA with the non-members as positives in its DDPM script. The codes hold scores as `f32`,
//! which moves some of them across a grid line; here they are `f64`. Only SecMI's distances to the target use rates
//! rounded to `f32`, because that decides ties (0 and 2 % are not equally far from 1 %).

mod curve;

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::error::{StatsError, check_rate, check_scores};
use curve::Curve;

/// Which public code to imitate; see the table of [`crate::compat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompatRule {
    /// SecMI for DDPM, and ReDiffuse.
    #[serde(rename = "secmi")]
    SecMi,
    /// SecMI for Stable Diffusion.
    #[serde(rename = "secmi-ldm")]
    SecMiLdm,
    /// PIA.
    #[serde(rename = "pia")]
    Pia,
    /// Pang & Wang's reconstruction attack, and GSA.
    #[serde(rename = "pw")]
    PangWang,
    /// CLiD.
    #[serde(rename = "clid")]
    Clid,
    /// CopyMark.
    #[serde(rename = "copymark")]
    CopyMark,
    /// Wen et al., detection of memorised prompts.
    #[serde(rename = "wen")]
    Wen,
    /// Hu & Pang's likelihood and loss attacks.
    #[serde(rename = "midm")]
    Midm,
    /// JAX Privacy's canary auditor.
    #[serde(rename = "jax-privacy")]
    JaxPrivacy,
}

impl CompatRule {
    /// All rules.
    pub const ALL: [Self; 9] = [
        Self::SecMi,
        Self::SecMiLdm,
        Self::Pia,
        Self::PangWang,
        Self::Clid,
        Self::CopyMark,
        Self::Wen,
        Self::Midm,
        Self::JaxPrivacy,
    ];

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::SecMi => "secmi",
            Self::SecMiLdm => "secmi-ldm",
            Self::Pia => "pia",
            Self::PangWang => "pw",
            Self::Clid => "clid",
            Self::CopyMark => "copymark",
            Self::Wen => "wen",
            Self::Midm => "midm",
            Self::JaxPrivacy => "jax-privacy",
        }
    }

    /// What the rule computes, in one sentence for a report.
    pub fn definition(self) -> &'static str {
        match self {
            Self::SecMi => {
                "2,000 evenly spaced thresholds from the lowest to below the highest error, trapezoid AUC, largest accuracy, TPR at the first FPR nearest to the target, which may exceed it."
            }
            Self::SecMiLdm => {
                "10,001 evenly spaced thresholds from the lowest to the highest error, trapezoid AUC, largest of the accuracies printed, no TPR."
            }
            Self::Pia => {
                "Exact ROC and AUC, TPR at the last FPR strictly below the target, no accuracy."
            }
            Self::PangWang => {
                "scikit-learn's roc_curve without intermediate points, exact AUC, TPR at the first FPR nearest to the target, which may exceed it, no accuracy."
            }
            Self::Clid => {
                "Non-members are the positives: exact AUC, TPR (share of non-members recognised) at the first FPR (share of members lost) not below the target on scikit-learn's roc_curve, largest accuracy over 2,000 evenly spaced thresholds."
            }
            Self::CopyMark => {
                "10,000 evenly spaced thresholds from the lowest to below the highest error, trapezoid AUC, largest TPR with an FPR not above the target (0 if no threshold has one), no accuracy."
            }
            Self::Wen => {
                "scikit-learn's roc_curve, exact AUC, TPR at the last FPR strictly below the target, largest balanced accuracy."
            }
            Self::Midm => {
                "Non-members are the positives: TPR (share of non-members recognised) at the last FPR (share of members lost) not above the target on scikit-learn's roc_curve, no AUC and no accuracy."
            }
            Self::JaxPrivacy => {
                "Convex hull of the exact ROC: its area as AUC, TPR interpolated between its corners at the target, largest accuracy."
            }
        }
    }
}

impl FromStr for CompatRule {
    type Err = StatsError;

    fn from_str(name: &str) -> Result<Self, StatsError> {
        Self::ALL
            .into_iter()
            .find(|rule| rule.name() == name)
            .ok_or_else(|| StatsError::UnknownRule {
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

/// What a public code would have printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompatSummary {
    /// The rule.
    pub rule: CompatRule,
    /// [`CompatRule::definition`].
    pub definition: Cow<'static, str>,
    /// AUC by the rule; `None` when the code computes none.
    pub auc: Option<f64>,
    /// "Attack success rate" by the rule, picked on these scores; `None` when the code computes none.
    pub asr: Option<f64>,
    /// One entry per target; empty when the code computes no TPR.
    pub tpr_at_fpr: Vec<CompatPoint>,
}

/// A TPR by the rule of a public code.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CompatPoint {
    /// The FPR asked for.
    pub target_fpr: f64,
    /// What the code calls TPR: for `clid` and `midm` the share of non-members recognised.
    pub tpr: f64,
    /// The FPR where it was taken, in the code's sense; may exceed the target.
    pub realised_fpr: f64,
}

/// Computes AUC, accuracy and TPRs as the public code of `rule` does. Higher scores mean "member", as everywhere here.
///
/// # Errors
/// [`StatsError::Empty`], [`StatsError::NotANumber`], [`StatsError::NoGrid`] when a grid of thresholds is needed and
/// all scores are equal or one is infinite, and [`StatsError::OutOfRange`] for a rate outside [0, 1], or 0 where the
/// rule wants an FPR strictly below it.
pub fn summarise_compat(
    rule: CompatRule,
    members: &[f64],
    nonmembers: &[f64],
    fprs: &[f64],
) -> Result<CompatSummary, StatsError> {
    check_scores(members, nonmembers)?;
    for &fpr in fprs {
        check_target(rule, fpr)?;
    }
    let grid = |cells, to_the_end| Curve::grid(rule, members, nonmembers, cells, to_the_end);
    // The codes whose positives are the non-members rank by error.
    let negate = |scores: &[f64]| scores.iter().map(|s| -s).collect::<Vec<f64>>();
    let curve = match rule {
        CompatRule::SecMi => grid(2_000, false)?,
        CompatRule::SecMiLdm => grid(10_000, true)?,
        CompatRule::CopyMark => grid(10_000, false)?,
        CompatRule::Pia => Curve::exact(members, nonmembers)?,
        CompatRule::PangWang | CompatRule::Wen => {
            Curve::exact(members, nonmembers)?.without_intermediate()
        }
        CompatRule::Clid | CompatRule::Midm => {
            Curve::exact(&negate(nonmembers), &negate(members))?.without_intermediate()
        }
        CompatRule::JaxPrivacy => Curve::exact(members, nonmembers)?.hull(),
    };
    let auc = (rule != CompatRule::Midm).then(|| curve.area());
    let asr = match rule {
        CompatRule::SecMi | CompatRule::SecMiLdm | CompatRule::JaxPrivacy => Some(curve.accuracy()),
        CompatRule::Clid => Some(grid(2_000, false)?.accuracy()),
        CompatRule::Wen => Some(curve.balanced_accuracy()),
        CompatRule::Pia | CompatRule::PangWang | CompatRule::CopyMark | CompatRule::Midm => None,
    };
    Ok(CompatSummary {
        rule,
        definition: rule.definition().into(),
        auc,
        asr,
        tpr_at_fpr: fprs
            .iter()
            .filter_map(|&fpr| curve.point(rule, fpr))
            .collect(),
    })
}

fn check_target(rule: CompatRule, fpr: f64) -> Result<(), StatsError> {
    check_rate("target FPR", fpr)?;
    if fpr == 0.0 && matches!(rule, CompatRule::Pia | CompatRule::Wen) {
        return Err(StatsError::OutOfRange {
            name: "target FPR",
            value: fpr,
            expected: "above 0 for a rule that wants an FPR strictly below it",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for rule in CompatRule::ALL {
            assert_eq!(rule.name().parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
            assert!(rule.definition().ends_with('.'));
        }
        let error = "secmia".parse::<CompatRule>().unwrap_err().to_string();
        assert!(
            error.contains("\"secmia\"") && error.contains("secmi, secmi-ldm, pia"),
            "{error}"
        );
    }

    #[test]
    fn what_a_code_does_not_print_is_missing() {
        for rule in CompatRule::ALL {
            let s = summarise_compat(rule, &[2.0, 1.0], &[1.5, 0.0], &[0.5]).unwrap();
            assert_eq!(s.auc.is_none(), rule == CompatRule::Midm);
            assert_eq!(s.tpr_at_fpr.is_empty(), rule == CompatRule::SecMiLdm);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let constant = summarise_compat(CompatRule::SecMi, &[1.0], &[1.0], &[0.1]);
        assert_eq!(constant, Err(StatsError::NoGrid { rule: "secmi" }));
        let infinite = summarise_compat(CompatRule::Clid, &[1.0], &[f64::INFINITY], &[]);
        assert_eq!(infinite, Err(StatsError::NoGrid { rule: "clid" }));
        assert!(summarise_compat(CompatRule::Pia, &[1.0], &[0.0], &[0.0]).is_err());
        assert!(summarise_compat(CompatRule::Midm, &[1.0], &[0.0], &[0.0]).is_ok());
        assert!(summarise_compat(CompatRule::Wen, &[1.0], &[0.0], &[1.5]).is_err());
        assert!(summarise_compat(CompatRule::Wen, &[], &[0.0], &[0.5]).is_err());
    }
}
