//! Opens sealed records: the way back.

use std::borrow::Cow;

use crate::record::sealing::{Sealing, UnsealError};
use crate::record::{RecordKind, RecordView};

impl Sealing {
    /// Returns the payload as it was encoded. It has `bytes_max` bytes at the most if it was
    /// compressed.
    ///
    /// The header is only to be believed after this: until then whoever can write to the store may
    /// have made it up.
    pub(crate) fn open<'a>(
        &self,
        view: &RecordView<'a>,
        bytes_max: u64,
    ) -> Result<Cow<'a, [u8]>, UnsealError> {
        let header = view.header();
        if header.kind == RecordKind::Tombstone {
            return Ok(Cow::Borrowed(view.payload()));
        }
        let seals = header.seals();
        let opened = match &seals.encrypted {
            Some(with) => Cow::Owned(self.decrypt(view, with)?),
            None if self.refuses_unencrypted() => return Err(UnsealError::NotEncrypted),
            None => Cow::Borrowed(view.payload()),
        };
        match seals.compressed {
            Some(with) => self.decompress(&opened, with, bytes_max).map(Cow::Owned),
            None => Ok(opened),
        }
    }
}

#[cfg(not(feature = "encryption"))]
#[expect(clippy::unused_self, reason = "with the feature it is used")]
impl Sealing {
    fn decrypt(
        &self,
        _view: &RecordView<'_>,
        _with: &super::sections::Encrypted,
    ) -> Result<Vec<u8>, UnsealError> {
        Err(UnsealError::NotBuiltIn { feature: "encryption" })
    }

    fn refuses_unencrypted(&self) -> bool {
        false
    }
}
