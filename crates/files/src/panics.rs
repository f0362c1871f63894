//! Libraries that panic where they should refuse a stranger's file.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// How many calls of [`quietly`] this thread is in.
    static INSIDE: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` of a library that asserts what it should check. `None` if it panics, of which nothing is printed; what it was
/// working on is not to be used any more.
///
/// It sees panics of its own thread only. For code of our own it is no remedy: that has to check.
pub fn quietly<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if INSIDE.get() == 0 {
                others(info);
            }
        }));
    });
    INSIDE.set(INSIDE.get() + 1);
    let ended = panic::catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(INSIDE.get() - 1);
    ended.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_what_comes_back_is_as_it_was() {
        assert_eq!(quietly(|| 3), Some(3));
        let inner = quietly(|| quietly(|| panic::panic_any(1)).is_none());
        assert_eq!(inner, Some(true));
        assert_eq!(INSIDE.get(), 0);
    }
}
