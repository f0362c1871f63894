//! The readers that need no libtorch. Which of them: `DUALMD_FUZZ`, see `dualmd_fuzz::targets`.
#![no_main]

mod choice;

libfuzzer_sys::fuzz_target!(|input: &[u8]| choice::read(input));
