//! What the public attack codes would have printed for the scores of a run: for comparison with published tables only.

use std::borrow::Cow;

use dualmd_record::planned::PlannedAudit;
use dualmd_stats::{CompatRule, CompatSummary, StatsError, summarise_compat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// False-alarm rates that published tables have.
pub const FPRS: [f64; 2] = [0.01, 0.001];

/// One public code's numbers for one attack, or why it has none.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CompatResult {
    /// Name of the rule.
    pub rule: Cow<'static, str>,
    /// What it would have printed.
    pub summary: Option<CompatSummary>,
    /// Why it would have failed.
    pub reason: Option<String>,
}

/// The rules that `audit.compat` of a plan asks for, and a sentence for every name that is none.
pub fn rules(plan: &PlannedAudit) -> (Vec<CompatRule>, Vec<String>) {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for name in &plan.compat {
        match name.to_string().parse::<CompatRule>() {
            Ok(rule) if rules.contains(&rule) => {}
            Ok(rule) => rules.push(rule),
            Err(e) => problems.push(format!("plan.json, audit.compat: {e}. It is passed over.")),
        }
    }
    (rules, problems)
}

/// All rules on one attack's scores.
pub fn apply(rules: &[CompatRule], members: &[f64], nonmembers: &[f64]) -> Vec<CompatResult> {
    let one = |&rule: &CompatRule| {
        let outcome: Result<CompatSummary, StatsError> =
            summarise_compat(rule, members, nonmembers, &FPRS);
        let (summary, reason) = match outcome {
            Ok(summary) => (Some(summary), None),
            Err(e) => (None, Some(e.to_string())),
        };
        CompatResult {
            rule: rule.name().into(),
            summary,
            reason,
        }
    };
    rules.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dualmd_record::planned::AnyPlan;

    #[test]
    fn rules_come_from_the_plan() {
        let plan = serde_json::json!({"audit": {"compat": ["pia", "secmia", "pia", 3, "midm"]}});
        let (rules, problems) = super::rules(&AnyPlan::of(&plan).audit);
        assert_eq!(rules, [CompatRule::Pia, CompatRule::Midm]);
        assert_eq!(problems.len(), 2);
        assert!(problems[0].contains("\"secmia\"") && problems[0].contains("audit.compat"));
        assert_eq!(super::rules(&PlannedAudit::default()), (vec![], vec![]));
    }

    #[test]
    fn a_rule_that_cannot_be_applied_says_so() {
        let all = apply(&[CompatRule::Pia, CompatRule::SecMi], &[1.0; 3], &[1.0; 3]);
        assert!(all[0].summary.as_ref().is_some_and(|s| s.auc == Some(0.5)));
        assert!(all[1].summary.is_none() && all[1].reason.is_some());
    }
}
