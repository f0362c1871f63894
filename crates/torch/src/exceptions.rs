//! Exceptions of libtorch: those that reach us as panics, and what to do about one.
//!
//! tch has two calls for every operation. The one with `f_` gives an error where libtorch throws; the other one, which operators
//! such as `+` use as well, panics. Networks are written with the short calls. [`caught`] stands where a session begins and
//! makes errors of such panics again.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::{Result, TorchError, shim};

/// How the panic of a short call begins; the exception's text follows as a quoted string.
const UNWRAPPED: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"";

/// What libtorch and the C++ library say where memory is short.
const NO_MEMORY: [&str; 5] = [
    "out of memory",
    "allocate memory",
    "not enough memory",
    "bad_alloc",
    "CUBLAS_STATUS_ALLOC_FAILED",
];

const LESS: &str = "there is not enough memory for this: do less at a time (a smaller `--batch`, `train.batch` or `audit.batch`; \
                    `train.accumulate` keeps the sum), or use a machine with more";
const REPORT: &str = "this should not happen: please report it, with the command that led to it";

thread_local! {
    /// How many calls of [`caught`] this thread is in.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work`. If a call of tch panics in it because libtorch threw, that is an error, and nothing is printed; whether gradients
/// are recorded is then as it was before. Any other panic goes on as it would have done.
///
/// It sees panics of its own thread only: a thread that `work` starts needs a call of its own.
///
/// # Errors
/// [`TorchError::Exception`] with libtorch's reason and a remedy.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if INSIDE.get() == 0 || thrown(info.payload()).is_none() {
                others(info);
            }
        }));
    });
    let recorded = shim::gradients_recorded();
    INSIDE.set(INSIDE.get() + 1);
    let ended = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    ended.map_err(|payload| {
        let Some(reason) = thrown(payload.as_ref()) else {
            panic::resume_unwind(payload)
        };
        shim::record_gradients(recorded);
        let remedy = memory_remedy(&reason).unwrap_or(REPORT);
        TorchError::Exception { reason, remedy }
    })
}

/// What to do where an error's text says that memory is short.
#[must_use]
pub fn memory_remedy(text: &str) -> Option<&'static str> {
    NO_MEMORY
        .iter()
        .any(|words| text.contains(words))
        .then_some(LESS)
}

/// The first line of an exception that a short call panicked with.
fn thrown(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<String>()?.strip_prefix(UNWRAPPED)?;
    // Its line breaks and quotes are written as in a program.
    let line = text.split("\\n").next().unwrap_or(text);
    Some(line.trim_end_matches("\")").replace("\\\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Kind, Tensor, no_grad};

    fn ones(size: &[i64]) -> Tensor {
        Tensor::ones(size, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn an_exception_of_a_short_call_is_an_error() {
        let error = caught(|| ones(&[2]) + ones(&[3])).unwrap_err().to_string();
        assert!(
            error.starts_with("libtorch: The size of tensor a (2) must match")
                && error.contains("please report it")
                && error.lines().count() == 1,
            "{error}"
        );
        let error = caught(|| ones(&[1 << 50])).unwrap_err().to_string();
        assert!(error.contains("--batch"), "{error}");
        assert_eq!(caught(|| ones(&[2]).size()).unwrap(), [2]);
    }

    #[test]
    fn gradients_are_recorded_as_before() {
        let records = || (ones(&[1]).set_requires_grad(true) * 2.0).requires_grad();
        assert!(caught(|| no_grad(|| ones(&[2]) + ones(&[3]))).is_err());
        assert!(records());
        no_grad(|| {
            assert!(caught(|| ones(&[2]) + ones(&[3])).is_err());
            assert!(!records());
        });
    }

    #[test]
    fn another_panic_goes_on() {
        fn planted() {
            panic::panic_any(7u32)
        }
        let other = panic::catch_unwind(|| caught(planted).is_ok());
        assert_eq!(other.unwrap_err().downcast_ref::<u32>(), Some(&7));
        assert_eq!(INSIDE.get(), 0);
    }

    #[test]
    fn a_lack_of_memory_is_known_by_its_words() {
        for text in [
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
            "std::bad_alloc",
        ] {
            assert_eq!(memory_remedy(text), Some(LESS), "{text}");
        }
        assert_eq!(memory_remedy("mat1 and mat2 shapes"), None);
    }
}
