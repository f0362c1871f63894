//! Safe faces of `shim/ranks.cpp`: a store over TCP, and a group of processes over gloo. [`crate::ranks`] is what to use.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;
use tch::Tensor;
use torch_sys::C_tensor;

#[repr(C)]
struct RawStore {
    _opaque: [u8; 0],
}

#[repr(C)]
struct RawGroup {
    _opaque: [u8; 0],
}

unsafe extern "C" {
    fn dm_ranks_error() -> *const c_char;
    fn dm_library_version() -> *const c_char;
    fn dm_store_open(
        host: *const c_char,
        port: u16,
        serve: c_int,
        prefix: *const c_char,
        timeout_ms: i64,
        out: *mut *mut RawStore,
    ) -> c_int;
    fn dm_store_close(store: *mut RawStore);
    fn dm_store_set(store: *mut RawStore, key: *const c_char, value: *const c_char) -> c_int;
    fn dm_store_has(store: *mut RawStore, key: *const c_char, there: *mut c_int) -> c_int;
    fn dm_store_get(store: *mut RawStore, key: *const c_char, value: *mut *const c_char) -> c_int;
    fn dm_group_open(
        store: *mut RawStore,
        rank: c_int,
        world: c_int,
        timeout_ms: i64,
        address: *const c_char,
        interface: *const c_char,
        out: *mut *mut RawGroup,
    ) -> c_int;
    fn dm_group_set_timeout(group: *mut RawGroup, timeout_ms: i64) -> c_int;
    fn dm_group_close(group: *mut RawGroup);
    fn dm_group_sum(group: *mut RawGroup, tensors: *const *mut C_tensor, n: usize) -> c_int;
    fn dm_group_broadcast(group: *mut RawGroup, tensor: *mut C_tensor, from: c_int) -> c_int;
}

/// Why a call failed, with libtorch's own text in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The port is taken.
    InUse(String),
    /// Nobody answered in time.
    Timeout(String),
    /// A connection broke.
    Lost(String),
    /// Anything else.
    Other(String),
}

type Result<T> = std::result::Result<T, Failure>;

fn check(code: c_int) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: a thread-local C++ string that lives until this thread's next call of the shim.
    let text = unsafe { CStr::from_ptr(dm_ranks_error()) };
    let text = plain(&text.to_string_lossy());
    Err(match code {
        2 => Failure::Timeout(text),
        3 => Failure::Lost(text),
        4 => Failure::InUse(text),
        _ => Failure::Other(text),
    })
}

/// The first line of a text of c10d's or gloo's, without the place in their source it begins with.
fn plain(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    let rest = line
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .filter(|(place, _)| {
            place.contains(".cc:") || place.contains(".cpp:") || place.contains(".h:")
        })
        .map_or(line, |(_, rest)| rest);
    rest.trim_end_matches('.').to_owned()
}

fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Failure::Other("a name holds a zero byte".into()))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The version of the libtorch that is loaded, as it says itself; empty if it does not say.
pub(crate) fn library_version() -> String {
    // SAFETY: a static C++ string.
    let text = unsafe { CStr::from_ptr(dm_library_version()) };
    text.to_string_lossy().into_owned()
}

/// Keys and values that all ranks see.
pub(crate) struct Store(NonNull<RawStore>);

// SAFETY: libtorch's stores lock themselves; this handle is used by one thread at a time.
unsafe impl Send for Store {}

impl Store {
    /// Connects to the store at `host:port`, or opens it there (`serve`). Keys are told apart by `prefix`.
    pub(crate) fn open(
        (host, port): (&str, u16),
        serve: bool,
        prefix: &str,
        timeout: Duration,
    ) -> Result<Self> {
        let (host, prefix) = (text(host)?, text(prefix)?);
        let mut out = std::ptr::null_mut();
        // SAFETY: the texts and `out` outlive the call.
        check(unsafe {
            dm_store_open(
                host.as_ptr(),
                port,
                c_int::from(serve),
                prefix.as_ptr(),
                milliseconds(timeout),
                &mut out,
            )
        })?;
        let store = NonNull::new(out).ok_or_else(|| Failure::Other("no store".into()))?;
        Ok(Self(store))
    }

    /// Sets a key.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: live handle and texts.
        check(unsafe { dm_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr()) })
    }

    /// Is the key set?
    pub(crate) fn has(&self, key: &str) -> Result<bool> {
        let key = text(key)?;
        let mut there = 0;
        // SAFETY: live handle and text; `there` outlives the call.
        check(unsafe { dm_store_has(self.0.as_ptr(), key.as_ptr(), &mut there) })?;
        Ok(there != 0)
    }

    /// The value of a key that is set.
    pub(crate) fn get(&self, key: &str) -> Result<String> {
        let key = text(key)?;
        let mut value = std::ptr::null();
        // SAFETY: live handle and text; the value lives until this thread's next call.
        check(unsafe { dm_store_get(self.0.as_ptr(), key.as_ptr(), &mut value) })?;
        let value = unsafe { CStr::from_ptr(value) };
        Ok(value.to_string_lossy().into_owned())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: made by `open`, closed once.
        unsafe { dm_store_close(self.0.as_ptr()) };
    }
}

/// This process in a group of processes.
pub(crate) struct Process(NonNull<RawGroup>);

// SAFETY: libtorch asks for one order of calls in every process, not for one thread; this handle is used by one at a time.
unsafe impl Send for Process {}

impl Process {
    /// Connects to every other rank, from `address`, or from a network interface if one is named.
    pub(crate) fn open(
        store: &Store,
        (rank, world): (usize, usize),
        timeout: Duration,
        address: &str,
        interface: Option<&str>,
    ) -> Result<Self> {
        let small = |n: usize| {
            c_int::try_from(n).map_err(|_| Failure::Other(format!("{n} ranks are too many")))
        };
        let (rank, world) = (small(rank)?, small(world)?);
        let (address, interface) = (text(address)?, text(interface.unwrap_or_default())?);
        let mut out = std::ptr::null_mut();
        // SAFETY: live handle and texts; `out` outlives the call. The group holds the store for itself.
        check(unsafe {
            dm_group_open(
                store.0.as_ptr(),
                rank,
                world,
                milliseconds(timeout),
                address.as_ptr(),
                interface.as_ptr(),
                &mut out,
            )
        })?;
        let group = NonNull::new(out).ok_or_else(|| Failure::Other("no group".into()))?;
        Ok(Self(group))
    }

    /// How long each later call waits.
    pub(crate) fn set_timeout(&self, timeout: Duration) -> Result<()> {
        // SAFETY: live handle.
        check(unsafe { dm_group_set_timeout(self.0.as_ptr(), milliseconds(timeout)) })
    }

    /// Sums each tensor over the ranks, in place. Tensors are contiguous and on the CPU, or this is refused.
    pub(crate) fn sum(&self, tensors: &[Tensor]) -> Result<()> {
        let pointers = super::pointers(tensors);
        // SAFETY: live tensors for the duration of the call, which waits for all of its work.
        check(unsafe { dm_group_sum(self.0.as_ptr(), pointers.as_ptr(), pointers.len()) })
    }

    /// Gives every rank the tensor of rank `from`, in place.
    pub(crate) fn broadcast(&self, tensor: &Tensor, from: usize) -> Result<()> {
        let from = c_int::try_from(from).unwrap_or(c_int::MAX);
        // SAFETY: as above.
        check(unsafe { dm_group_broadcast(self.0.as_ptr(), tensor.as_ptr().cast_mut(), from) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: made by `open`, closed once.
        unsafe { dm_group_close(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn texts_of_libtorch_lose_their_place_and_their_stack() {
        let gloo = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4242\nExample";
        assert_eq!(plain(gloo), "Connection closed by peer [127.0.0.1]:4242");
        assert_eq!(
            plain("[c10d] The client socket has failed.\n"),
            "[c10d] The client socket has failed"
        );
        assert_eq!(plain(""), "");
    }
}
