//! How long libtorch's operations take, by their names: where the time of a step goes.
//!
//! libtorch tells an observer of the thread when each operation begins and ends, those of the backward pass among them, which
//! a CPU computes on the thread that asks for it. On a GPU operations are only begun here, so that times say nothing of it.

use crate::{Result, TorchError, shim};
use std::marker::PhantomData;

/// The operations of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// libtorch's name, such as `aten::mkldnn_convolution` or `ConvolutionBackward0`; `dualmd::` begins those of the shim.
    pub name: String,
    /// How often one ended.
    pub calls: u64,
    /// Seconds by the clock of all of them, without those of the operations that they called.
    pub seconds: f64,
}

/// Operations of this thread are told since it began. It stays on its thread.
#[derive(Debug)]
pub struct Profile {
    begun: bool,
    thread: PhantomData<*const ()>,
}

impl Profile {
    /// Begins.
    ///
    /// # Errors
    /// Where this thread has another profile.
    pub fn begin() -> Result<Self> {
        shim::profile_begin()?;
        Ok(Self {
            begun: true,
            thread: PhantomData,
        })
    }

    /// Ends, and gives the operations, those that took longest first.
    ///
    /// # Errors
    /// What libtorch refuses.
    pub fn end(mut self) -> Result<Vec<Operation>> {
        self.begun = false;
        let text = shim::profile_end()?;
        let mut operations = text.lines().map(operation).collect::<Result<Vec<_>>>()?;
        operations.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Ok(operations)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if self.begun {
            // Nobody asks for what it was.
            let _ = shim::profile_end();
        }
    }
}

fn operation(line: &str) -> Result<Operation> {
    let parts = || {
        let mut words = line.splitn(3, ' ');
        let (calls, seconds) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Operation {
            calls,
            seconds,
            name: words.next()?.to_owned(),
        })
    };
    parts().ok_or_else(|| TorchError::Shim(format!("a profile says \"{line}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Kind, Tensor};
    use std::time::Instant;

    fn of<'a>(operations: &'a [Operation], name: &str) -> &'a Operation {
        let found = operations.iter().find(|o| o.name == name);
        found.unwrap_or_else(|| panic!("no {name} in {operations:?}"))
    }

    #[test]
    fn operations_are_told_forward_and_backward() {
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let w = random(&[200, 200]).set_requires_grad(true);
        let (x, image) = (random(&[200, 200]), random(&[2, 8, 4, 4]));
        let ones = Tensor::ones([8], (Kind::Float, Device::Cpu));
        let began = Instant::now();
        let profile = Profile::begin().unwrap();
        assert!(Profile::begin().is_err(), "one at a time");
        for _ in 0..3 {
            x.matmul(&w).sum(Kind::Float).backward();
        }
        let normalised = shim::group_norm_silu(&image, None, &ones, &ones, 4, 1e-5, true);
        let operations = profile.end().unwrap();
        let seconds = began.elapsed().as_secs_f64();
        assert_eq!(normalised.unwrap().size(), [2, 8, 4, 4]);
        // x w forward, x^T g backward; x itself has no gradient.
        assert_eq!(of(&operations, "aten::mm").calls, 6);
        assert_eq!(of(&operations, "aten::matmul").calls, 3);
        assert!(
            operations
                .iter()
                .any(|o| o.name.contains("MmBackward0") && o.calls >= 3),
            "{operations:?}"
        );
        assert_eq!(of(&operations, "dualmd::group_norm_silu").calls, 1);
        // What an operation calls is not counted twice.
        let sum: f64 = operations.iter().map(|o| o.seconds).sum();
        assert!(
            sum <= seconds && operations.iter().all(|o| o.seconds >= 0.0),
            "{sum} of {seconds}"
        );
        assert!(operations.is_sorted_by(|a, b| a.seconds >= b.seconds));
    }

    #[test]
    fn a_profile_that_is_dropped_makes_room_for_another() {
        drop(Profile::begin().unwrap());
        let profile = Profile::begin().unwrap();
        assert!(profile.end().unwrap().is_empty());
        let _ = Tensor::ones([2], (Kind::Float, Device::Cpu));
        assert!(Profile::begin().unwrap().end().unwrap().is_empty());
        assert!(operation("no numbers").is_err());
    }
}
