//! What the report makes of the facts about attacks: which of them can be run on a model, and what access they need.

use dualmd_names::{BaseAttack, Cost, RunsOn};

use crate::report::ModelReport;

/// Can the attack be run on this model?
pub fn applies_to(attack: BaseAttack, model: &ModelReport) -> bool {
    let pair = model.is_pair();
    match attack.facts().runs_on {
        RunsOn::Networks => !pair,
        RunsOn::Generators => !model.is_teacher(),
        RunsOn::Pairs => pair,
        // A model that was attacked by what it draws for captions has a text.
        RunsOn::Text => model.results.iter().any(|r| of_text(&r.attack)),
        RunsOn::Everything => true,
    }
}

/// Is it an attack on models that are told a text?
fn of_text(attack: &str) -> bool {
    BaseAttack::of(attack).is_some_and(BaseAttack::compares_captions)
}

/// Access in words: gradients need more than forward passes of the weights.
pub fn access(attack: &str, access: &str) -> String {
    match BaseAttack::of(attack).map(|a| a.facts().cost) {
        Some(Cost::Gradients) if access == "white-box" => "white-box, with gradients".into(),
        _ => access.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_need_more_than_the_weights() {
        assert_eq!(access("gsa1@x", "white-box"), "white-box, with gradients");
        assert_eq!(access("gsa1", "unknown"), "unknown");
        assert_eq!(access("loss", "white-box"), "white-box");
        assert_eq!(access("lira", "black-box"), "black-box");
    }
}
