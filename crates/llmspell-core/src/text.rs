//! Users' strings in error texts, and as lists of ids or keys.

/// The first 64 characters of a user's string, for an error text.
#[must_use]
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 64;
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// Ids or keys in the form that the traits take.
pub fn names(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    names.into_iter().map(|name| name.as_ref().to_string()).collect()
}
