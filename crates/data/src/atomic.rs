//! Files that are either whole or not there.

use std::io::Write;
use std::path::Path;

/// Writes `bytes` to `path` through a temporary file in the same folder, synced and then renamed: a reader, or a run
/// that was killed, sees the old file or the new one, never half of it.
///
/// # Errors
/// The operating system's error with the path in front (a full disk, a missing folder, no permission).
pub fn write_atomic(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let named = |e: std::io::Error| {
        std::io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display()))
    };
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".partial-")
        .tempfile_in(folder)
        .map_err(named)?;
    file.write_all(bytes).map_err(named)?;
    file.as_file().sync_all().map_err(named)?;
    let temporary = file.into_temp_path();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Temporary files are private (0600); results are meant to be read by others.
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o644))
            .map_err(named)?;
    }
    temporary.persist(path).map_err(|e| named(e.error))
}
