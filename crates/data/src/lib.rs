//! Image sets, ids, near-duplicate groups and membership splits. No tensors.

pub mod atomic;
pub mod stream;

pub use atomic::write_atomic;
pub use stream::{stream, stream_for_id};
