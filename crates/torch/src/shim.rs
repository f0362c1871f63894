//! Safe faces of the C++ shim.
#![allow(unsafe_code)]

pub(crate) mod ranks;

use crate::device::Precision;
use crate::{Result, TorchError};
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_double, c_int};
use std::sync::atomic::{AtomicBool, Ordering};
use tch::{Device, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn dm_last_error() -> *const c_char;
    fn dm_autocast_begin(cuda: c_int, was_enabled: *mut c_int) -> c_int;
    fn dm_autocast_end(cuda: c_int, was_enabled: c_int) -> c_int;
    fn dm_fused_adam(
        params: *const *mut C_tensor,
        grads: *const *mut C_tensor,
        exp_avg: *const *mut C_tensor,
        exp_avg_sq: *const *mut C_tensor,
        n: usize,
        step: *mut C_tensor,
        lr: c_double,
        beta1: c_double,
        beta2: c_double,
        weight_decay: c_double,
        eps: c_double,
        adamw: c_int,
    ) -> c_int;
    fn dm_foreach_lerp(
        target: *const *mut C_tensor,
        source: *const *mut C_tensor,
        n: usize,
        weight: c_double,
    ) -> c_int;
    fn dm_clip_grad_norm(
        grads: *const *mut C_tensor,
        n: usize,
        max_norm: c_double,
        total: *mut c_double,
    ) -> c_int;
    fn dm_clip_grad_norm_there(
        grads: *const *mut C_tensor,
        n: usize,
        max_norm: c_double,
        total: *mut *mut C_tensor,
    ) -> c_int;
    fn dm_bring(t: *const C_tensor, cuda: c_int, out: *mut *mut C_tensor) -> c_int;
    fn dm_memory(cuda: c_int, unused: *mut u64, all: *mut u64) -> c_int;
    fn dm_allow_tf32(on: c_int) -> c_int;
    fn dm_to_channels_last(t: *const C_tensor, out: *mut *mut C_tensor) -> c_int;
    fn dm_group_norm_silu(
        x: *const C_tensor,
        add: *const C_tensor,
        weight: *const C_tensor,
        beta: *const C_tensor,
        groups: i64,
        eps: c_double,
        silu: c_int,
        out: *mut *mut C_tensor,
    ) -> c_int;
    fn dm_generator_state(cuda: c_int, out: *mut *mut C_tensor) -> c_int;
    fn dm_set_generator_state(cuda: c_int, state: *const C_tensor) -> c_int;
    fn dm_profile_begin() -> c_int;
    fn dm_profile_end(text: *mut *const c_char) -> c_int;
    fn dm_load_cuda() -> c_int;
}

fn check(code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the pointer is a thread-local C++ string that lives until this thread's next shim call.
    let text = unsafe { CStr::from_ptr(dm_last_error()) };
    Err(TorchError::Shim(text.to_string_lossy().into_owned()))
}

fn pointers(tensors: &[Tensor]) -> Vec<*mut C_tensor> {
    tensors.iter().map(|t| t.as_ptr().cast_mut()).collect()
}

thread_local! {
    /// Autocast is on.
    static AUTOCAST: Cell<bool> = const { Cell::new(false) };
    /// Autocast is not switched on, whoever asks for it.
    static WITHOUT_AUTOCAST: Cell<bool> = const { Cell::new(false) };
}

/// Is autocast on, on this thread? Then convolutions and matrix products round what they are given, whatever its kind.
#[must_use]
pub fn autocasts() -> bool {
    AUTOCAST.get()
}

/// Runs `f`, within which [`with_precision`] computes in f32 on this thread where bf16 is asked for: for gradients that are compared with
/// one another, of which bf16 would make the small ones rounding.
pub fn without_autocast<T>(f: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also if `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            WITHOUT_AUTOCAST.set(self.0);
        }
    }
    let before = Before(WITHOUT_AUTOCAST.replace(true));
    let out = f();
    drop(before);
    out
}

/// Runs `f` with bf16 autocast on, or with TF32 allowed on a GPU, or as it is, for [`Precision::F32`] and within [`without_autocast`]. Both
/// are switched back even if `f` panics. Autocast is this thread's, TF32 the whole process's; a backward pass of TF32 needs
/// [`crate::device::tuned`] around it.
///
/// # Errors
/// When libtorch refuses autocast on this device; a device that is neither a CPU nor a GPU of CUDA.
pub fn with_precision<T>(precision: Precision, device: Device, f: impl FnOnce() -> T) -> Result<T> {
    struct Guard(c_int, c_int, bool);
    impl Drop for Guard {
        fn drop(&mut self) {
            // SAFETY: plain flags; a failure here leaves autocast on, which the next begin overrides.
            unsafe { dm_autocast_end(self.0, self.1) };
            AUTOCAST.set(self.2);
        }
    }
    match precision {
        Precision::F32 => return Ok(f()),
        Precision::Tf32 => {
            let _allowed = Tf32::allowed(device)?;
            return Ok(f());
        }
        Precision::Bf16 if WITHOUT_AUTOCAST.get() => return Ok(f()),
        Precision::Bf16 => {}
    }
    let cuda = c_int::from(cuda_index(device)? >= 0);
    let mut was = 0;
    // SAFETY: `was` outlives the call.
    check(unsafe { dm_autocast_begin(cuda, &mut was) })?;
    let guard = Guard(cuda, was, AUTOCAST.replace(true));
    let out = f();
    drop(guard);
    Ok(out)
}

/// Whether TF32 is allowed in this process.
static TF32: AtomicBool = AtomicBool::new(false);

/// Has GPUs round the factors of f32 products to TF32, or not, in the whole process; says how it was. libtorch's own beginning allows it
/// to convolutions: [`crate::device::parse`] forbids it.
///
/// # Errors
/// What libtorch refuses.
pub(crate) fn allow_tf32(on: bool) -> Result<bool> {
    // SAFETY: plain flags of libtorch.
    check(unsafe { dm_allow_tf32(c_int::from(on)) })?;
    Ok(TF32.swap(on, Ordering::Relaxed))
}

/// TF32 is allowed as long as this lives, and then what it was.
#[derive(Debug)]
pub(crate) struct Tf32 {
    before: bool,
}

impl Tf32 {
    /// Nothing on a processor, which has none.
    pub(crate) fn allowed(device: Device) -> Result<Option<Self>> {
        if !device.is_cuda() {
            return Ok(None);
        }
        let before = allow_tf32(true)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for Tf32 {
    fn drop(&mut self) {
        // What libtorch took once it takes again; a failure would leave TF32 allowed, as the caller had asked.
        let _ = allow_tf32(self.before);
    }
}

/// One Adam step over all parameters in one call. Tensors in the four slices correspond by position and are f32.
#[derive(Debug, Clone, Copy)]
pub struct AdamOptions {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Exponential decay of the first moment.
    pub beta1: f64,
    /// Exponential decay of the second moment.
    pub beta2: f64,
    /// Weight decay, decoupled (AdamW) when `decoupled`, else L2 (added to the gradient).
    pub weight_decay: f64,
    /// AdamW instead of Adam with L2.
    pub decoupled: bool,
    /// Added to the denominator.
    pub eps: f64,
}

/// Applies one fused Adam step; `step` (0-d f32) is incremented first.
///
/// # Errors
/// Slices of unequal length; tensors that are not f32, or not of their weight's shape and device; moments that lie in
/// memory in another order than their weight; what libtorch refuses.
pub fn fused_adam(
    params: &[Tensor],
    grads: &[Tensor],
    first: &[Tensor],
    second: &[Tensor],
    step: &Tensor,
    options: &AdamOptions,
) -> Result<()> {
    let n = params.len();
    if grads.len() != n || first.len() != n || second.len() != n {
        return Err(TorchError::Setting(format!(
            "Adam: {n} parameters but {} gradients and {} / {} moments",
            grads.len(),
            first.len(),
            second.len()
        )));
    }
    let (p, g, m, v) = (
        pointers(params),
        pointers(grads),
        pointers(first),
        pointers(second),
    );
    // SAFETY: all pointers are live tensors of this crate's callers for the duration of the call.
    check(unsafe {
        dm_fused_adam(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            n,
            step.as_ptr().cast_mut(),
            options.learning_rate,
            options.beta1,
            options.beta2,
            options.weight_decay,
            options.eps,
            c_int::from(options.decoupled),
        )
    })
}

/// `target += weight * (source - target)` for every pair: one EMA step with decay `1 - weight`.
///
/// # Errors
/// Slices of unequal length; pairs of unequal shape or device; what libtorch refuses.
pub fn lerp_all(target: &[Tensor], source: &[Tensor], weight: f64) -> Result<()> {
    if target.len() != source.len() {
        return Err(TorchError::Setting(format!(
            "EMA: {} averages but {} weights",
            target.len(),
            source.len()
        )));
    }
    let (t, s) = (pointers(target), pointers(source));
    // SAFETY: as above.
    check(unsafe { dm_foreach_lerp(t.as_ptr(), s.as_ptr(), t.len(), weight) })
}

/// Global L2 norm of `grads`, 0 of none; scales them in place to `max_norm` when larger (`None`: only measures).
///
/// # Errors
/// A `max_norm` that is not above 0 or not finite; what libtorch refuses.
pub fn clip_grad_norm(grads: &[Tensor], max_norm: Option<f64>) -> Result<f64> {
    check_largest(max_norm)?;
    let g = pointers(grads);
    let mut total = 0.0;
    // SAFETY: as above; `total` outlives the call.
    check(unsafe { dm_clip_grad_norm(g.as_ptr(), g.len(), max_norm.unwrap_or(0.0), &mut total) })?;
    Ok(total)
}

/// As [`clip_grad_norm`], without waiting for the device: the norm stays where the gradients are, one f32 of no axes. The gradients
/// become the same, bit for bit.
///
/// # Errors
/// As there; no gradients.
pub fn clip_grad_norm_there(grads: &[Tensor], max_norm: Option<f64>) -> Result<Tensor> {
    check_largest(max_norm)?;
    let g = pointers(grads);
    let mut out = std::ptr::null_mut();
    // SAFETY: as in `to_channels_last`.
    check(unsafe {
        dm_clip_grad_norm_there(g.as_ptr(), g.len(), max_norm.unwrap_or(0.0), &mut out)
    })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

fn check_largest(max_norm: Option<f64>) -> Result<()> {
    match max_norm {
        Some(norm) if !(norm > 0.0 && norm.is_finite()) => Err(TorchError::Setting(format!(
            "gradients are to be clipped to the norm {norm}: it must be above 0 and finite"
        ))),
        _ => Ok(()),
    }
}

/// `x`, which lies in the processor's memory, on a GPU: by way of pinned memory, without waiting for what the GPU has to do before.
///
/// # Errors
/// A device that is no GPU; no memory that can be pinned; what libtorch refuses.
pub(crate) fn bring(x: &Tensor, device: Device) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: as in `to_channels_last`.
    check(unsafe { dm_bring(x.as_ptr(), gpu(device)?, &mut out) })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Bytes of a GPU's memory that nobody uses, and all of them.
///
/// # Errors
/// A device that is no GPU; what libtorch refuses.
pub(crate) fn memory(device: Device) -> Result<[u64; 2]> {
    let (mut unused, mut all) = (0, 0);
    // SAFETY: both outlive the call.
    check(unsafe { dm_memory(gpu(device)?, &mut unused, &mut all) })?;
    Ok([unused, all])
}

/// The index of a GPU.
fn gpu(device: Device) -> Result<c_int> {
    match cuda_index(device)? {
        index if index >= 0 => Ok(index),
        _ => Err(TorchError::Setting(
            "the processor is no GPU: use cuda".into(),
        )),
    }
}

/// `x` in channels-last memory (values unchanged).
///
/// # Errors
/// What libtorch refuses.
pub fn to_channels_last(x: &Tensor) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: on success `out` is a freshly allocated tensor whose ownership passes to the returned value.
    check(unsafe { dm_to_channels_last(x.as_ptr(), &mut out) })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// SiLU(GroupNorm(x + add)) as one differentiable operation (`silu` false: GroupNorm alone). `x`: [B, C, H, W]; `add`:
/// [B, C], the same for all pixels; `weight`, `beta`: \[C\].
///
/// # Errors
/// Other shapes, tensors on several devices or not of floats, a channel count that `groups` does not divide, an `eps` below
/// 0; what libtorch refuses. There is no second derivative: asking for one is an error of the backward pass.
pub fn group_norm_silu(
    x: &Tensor,
    add: Option<&Tensor>,
    weight: &Tensor,
    beta: &Tensor,
    groups: i64,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: as in `to_channels_last`.
    check(unsafe {
        dm_group_norm_silu(
            x.as_ptr(),
            add.map_or(std::ptr::null(), Tensor::as_ptr),
            weight.as_ptr(),
            beta.as_ptr(),
            groups,
            eps,
            c_int::from(silu),
            &mut out,
        )
    })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// The index of a GPU, -1 for the CPU.
fn cuda_index(device: Device) -> Result<c_int> {
    match device {
        Device::Cpu => Ok(-1),
        // libtorch holds the index in eight bits and would cut a larger one off.
        Device::Cuda(index) => i8::try_from(index).map(c_int::from).map_err(|_| {
            TorchError::Setting(format!(
                "cuda:{index}: there is no such GPU, the index must be below 128"
            ))
        }),
        other => Err(TorchError::Setting(format!(
            "{other:?} is not supported: use cpu or cuda"
        ))),
    }
}

/// The state of libtorch's own generator on `device`, which dropout draws from.
///
/// # Errors
/// A device that is neither a CPU nor a GPU of CUDA; what libtorch refuses.
pub fn generator_state(device: Device) -> Result<Tensor> {
    let mut out = std::ptr::null_mut();
    // SAFETY: as in `to_channels_last`.
    check(unsafe { dm_generator_state(cuda_index(device)?, &mut out) })?;
    Ok(unsafe { Tensor::from_ptr(out) })
}

/// Puts libtorch's own generator on `device` back into a state that [`generator_state`] gave.
///
/// # Errors
/// As there; a tensor that is no state.
pub fn set_generator_state(device: Device, state: &Tensor) -> Result<()> {
    // SAFETY: a live tensor, which libtorch checks and copies.
    check(unsafe { dm_set_generator_state(cuda_index(device)?, state.as_ptr()) })
}

/// Has libtorch tell how long this thread's operations take, until [`profile_end`].
pub(crate) fn profile_begin() -> Result<()> {
    // SAFETY: no arguments; the other side keeps everything in variables of this thread.
    check(unsafe { dm_profile_begin() })
}

/// A line for each operation since [`profile_begin`]: how often it was called, seconds, its name.
pub(crate) fn profile_end() -> Result<String> {
    let mut text = std::ptr::null();
    // SAFETY: `text` outlives the call.
    check(unsafe { dm_profile_end(&mut text) })?;
    // SAFETY: on success a C++ string of this thread, which lives until its next call.
    let text = unsafe { CStr::from_ptr(text) };
    Ok(text.to_string_lossy().into_owned())
}

/// Loads libtorch's CUDA half if this libtorch has one; false if not. Cheap after the first call.
#[must_use]
pub fn load_cuda() -> bool {
    // SAFETY: loading libtorch's own library, found beside the one that is already linked.
    unsafe { dm_load_cuda() == 0 }
}

/// Whether operations of this thread are recorded for gradients.
pub(crate) fn gradients_recorded() -> bool {
    let before = record_gradients(true);
    record_gradients(before);
    before
}

/// Has operations of this thread recorded or not; says how it was. (tch has this only around a closure, which a panic leaves.)
pub(crate) fn record_gradients(on: bool) -> bool {
    // SAFETY: a plain flag of this thread.
    unsafe { torch_sys::at_grad_set_enabled(c_int::from(on)) != 0 }
}
