//! What would be on the disk if the power failed now?
