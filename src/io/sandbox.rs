//! Whether a system call may be tried.

use std::sync::OnceLock;

/// Whether a call that the system does not know ends the process instead of failing: what Android
/// starts in an app gets SIGSYS for every call that its C library is without. Looked up once.
pub(super) fn ends_for_new_calls() -> bool {
    static ANDROID: OnceLock<bool> = OnceLock::new();
    // Android sets it for all its processes.
    *ANDROID.get_or_init(|| std::env::var_os("ANDROID_ROOT").is_some())
}
