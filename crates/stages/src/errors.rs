//! How a failure is told, as [`dualmd_runs::errors`] has it, with what is known of attacks and of libtorch.

use dualmd_attack::AttackError;
use dualmd_diffusion::DiffusionError;
use dualmd_runs::errors;

pub use errors::{FOUND, INTERRUPTED, Usage, VOID, harmless, usage};

/// Was this a request to stop, and no failure?
pub fn stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(AttackError::Stopped { .. }))
        || matches!(error.downcast_ref(), Some(DiffusionError::Stopped))
}

/// The exit code of a failure: 2 for wrong arguments, 130 where a stop was asked for, 1 for everything else.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if stopped(error) {
        return INTERRUPTED;
    }
    let wrong_name = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(AttackError::Name(_) | AttackError::Repeated(_))
        )
    });
    if wrong_name {
        2
    } else {
        errors::exit_code(error)
    }
}

/// As [`errors::render`]; at the end what to do where memory is short.
pub fn render(error: &anyhow::Error) -> String {
    let mut out = errors::render(error);
    if let Some(remedy) = dualmd_torch::memory_remedy(&out).filter(|remedy| !out.contains(remedy)) {
        out.push_str("\n  remedy: ");
        out.push_str(remedy);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{exit_code, harmless, render, usage};
    use crate::bail_usage;
    use anyhow::{Context, anyhow};

    #[test]
    fn causes_follow_one_a_line() {
        let error = anyhow!("disk full")
            .context("cannot write split.json")
            .context("split stage failed");
        assert_eq!(
            render(&error),
            "error: split stage failed\n  because: cannot write split.json\n  because: disk full"
        );
    }

    #[test]
    fn a_terminal_obeys_no_message() {
        let error = anyhow!("tensor \u{1b}[2J\u{9b}8m is\n\there\r").context("x\u{202e}gpj");
        assert_eq!(
            render(&error),
            "error: x\\u{202e}gpj\n  because: tensor \\u{1b}[2J\\u{9b}8m is\n    \there"
        );
        assert_eq!(harmless("\n\na\t\u{7}b\n"), "\n\na\t\\u{7}b\n");
    }

    #[test]
    fn a_lack_of_memory_has_its_remedy_once() {
        let error = anyhow!("libtorch: CUDA out of memory").context("model baseline");
        let text = render(&error);
        assert!(
            text.contains("\n  remedy: there is not enough memory"),
            "{text}"
        );
        let thrown = dualmd_torch::TorchError::Exception {
            reason: "CUDA out of memory".into(),
            remedy: dualmd_torch::memory_remedy("out of memory").unwrap(),
        };
        let text = render(&anyhow::Error::from(thrown));
        assert_eq!(text.matches("not enough memory").count(), 1, "{text}");
    }

    #[test]
    fn a_cause_already_quoted_is_not_repeated() {
        let error = anyhow!("disk full").context("cannot write split.json: disk full");
        assert_eq!(render(&error), "error: cannot write split.json: disk full");
        assert_eq!(render(&anyhow!("a\nb\n")), "error: a\n    b");
    }

    #[test]
    fn wrong_arguments_have_a_code_of_their_own() {
        let wrong = || -> anyhow::Result<()> { bail_usage!("name {} models", 2) };
        let error = wrong().context("audit").expect_err("refused");
        assert_eq!(
            (render(&error), exit_code(&error)),
            ("error: audit\n  because: name 2 models".into(), 2)
        );
        let unknown = dualmd_attack::by_name("sma")
            .map(|_| ())
            .map_err(anyhow::Error::from);
        assert_eq!(exit_code(&unknown.expect_err("no such attack")), 2);
        assert_eq!(exit_code(&anyhow!("disk full")), 1);
        let typed = usage(anyhow!("there are 2 entries").context("--set models.7.name=x"));
        assert_eq!(
            (render(&typed), exit_code(&typed)),
            (
                "error: --set models.7.name=x: there are 2 entries".into(),
                2
            )
        );
    }
}
