//! The id of the machine's current start.

/// A number that is another one after each start of the machine; none where the system has no such number.
#[cfg(target_os = "linux")]
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).ok()?;
    (id != 0).then(|| id.to_be_bytes())
}

/// Other systems have no such number.
#[cfg(not(target_os = "linux"))]
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    None
}
