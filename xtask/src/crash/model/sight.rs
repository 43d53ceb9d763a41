//! Expiry and visibility of entries, as far as the times are known.

use std::ops::RangeInclusive;

use super::super::operation::Life;

/// `from..=to`, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::crash) struct Span {
    pub(in crate::crash) from: i64,
    pub(in crate::crash) to: i64,
}

/// Whether an entry can be seen at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    Seen,
    Unknown,
    Gone,
}

impl Span {
    /// Whether a moment lies inside.
    pub(super) fn has(self, moment: i64) -> bool {
        (self.from..=self.to).contains(&moment)
    }

    fn later_by(self, millis: i64) -> Self {
        Self {
            from: self.from + millis,
            to: self.to + millis,
        }
    }
}

impl Life {
    /// When data written at `when` expires.
    pub(super) fn expires_at(self, when: Span) -> Option<Span> {
        match self {
            Self::Forever => None,
            Self::For(millis) => Some(when.later_by(millis.into())),
            Self::Until(moment) => Some(Span {
                from: moment,
                to: moment,
            }),
        }
    }
}

/// Whether data that expire then can be seen at `when`.
pub(super) fn sight(expires_at: Option<Span>, when: Span) -> Sight {
    match expires_at {
        Some(end) if when.from >= end.to => Sight::Gone,
        Some(end) if when.to >= end.from => Sight::Unknown,
        Some(_) | None => Sight::Seen,
    }
}

/// The least and the greatest number of entries that can be seen.
pub(super) fn span_of(sights: impl Iterator<Item = Sight>) -> RangeInclusive<u64> {
    let (mut least, mut most) = (0, 0);
    for sight in sights {
        least += u64::from(sight == Sight::Seen);
        most += u64::from(sight != Sight::Gone);
    }
    least..=most
}
