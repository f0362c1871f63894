//! Whether the machine has the memory for what is to be drawn, before it is asked for.

use crate::machine::memory_gb;
use anyhow::{Result, bail};
use dualmd_diffusion::Model;

/// Where the system does not say how much memory there is.
const UNKNOWN_GB: f64 = 1000.0;
/// Tensors of one kind that are there at once: noise, result and a copy on the way; or, inside the network, an input, an output,
/// and what is kept for the way up. Fewer than there are: what is refused cannot be drawn.
const AT_ONCE: f64 = 3.0;

/// Refuses to draw `n` images of `shape` [C, H, W] (as the network sees them), `batch` at a time, if the machine cannot hold them.
///
/// # Errors
/// What it would take and what there is, with the options that help.
pub fn check(model: &Model, n: usize, batch: usize, shape: [i64; 3]) -> Result<()> {
    check_against(
        memory_gb().unwrap_or(UNKNOWN_GB),
        model.widest_channels(),
        n,
        batch,
        shape,
    )
}

fn check_against(
    memory: f64,
    channels: i64,
    n: usize,
    batch: usize,
    [c, h, w]: [i64; 3],
) -> Result<()> {
    let (pixels, bytes) = (h as f64 * w as f64, 4.0 * AT_ONCE / 1e9);
    let images = n as f64 * c as f64 * pixels * bytes;
    let network = batch.min(n) as f64 * channels as f64 * pixels * bytes;
    if images + network <= memory {
        return Ok(());
    }
    let remedy = if images > network {
        "draw fewer images at a time (-n) and change --seed in between"
    } else {
        "a smaller --batch, or a model of smaller images"
    };
    bail!(
        "{n} images of {c} channels and {h}x{w} pixels, {batch} at a time, take at least {:.0} GB of memory, and this machine has \
         {memory:.0}: {remedy}",
        images + network
    )
}

#[cfg(test)]
mod tests {
    use super::check_against;

    #[test]
    fn what_no_memory_holds_is_refused_with_what_helps() {
        check_against(8.0, 128, 50_000, 64, [3, 32, 32]).unwrap();
        let error = |n, batch, shape| {
            let result = check_against(8.0, 128, n, batch, shape);
            result.unwrap_err().to_string()
        };
        let many = error(1_000_000_000, 64, [3, 32, 32]);
        assert!(
            many.contains("1000000000 images") && many.contains("-n") && many.contains("has 8"),
            "{many}"
        );
        let large = error(1, 1, [3, 4096, 4096]);
        assert!(large.contains("--batch"), "{large}");
        check_against(8.0, 128, 1, 1, [3, 1024, 1024]).unwrap();
        assert!(check_against(8.0, 1, usize::MAX, usize::MAX, [i64::MAX; 3]).is_err());
    }
}
