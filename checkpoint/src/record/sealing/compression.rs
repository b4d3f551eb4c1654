//! Compression of payloads, and how what was compressed is had again without trusting it.

use std::marker::PhantomData;

use crate::record::layout::SECTION_HEAD_BYTES;
use crate::record::sealing::sections::{Compressed, compressed_bytes};
use crate::record::sealing::{Sealing, UnsealError};

/// How states are compressed before they are stored.
///
/// A state that compression does not make smaller is stored as it is. What is stored says how it is
/// compressed, so the setting can be changed at any time: it is about what is stored from then on.
///
/// Where states are encrypted too, how well a state compresses shows in its size: somebody who can
/// choose a part of a state, and sees how many bytes it has when it is stored, learns about the
/// rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// LZ4: fast, moderately well.
    #[cfg(feature = "lz4")]
    Lz4,
    /// Zstandard: better, and slower the higher the level.
    ///
    /// Small states that are like each other compress well only with a
    /// [dictionary](crate::ZstdDictionary).
    #[cfg(feature = "zstd")]
    Zstd {
        /// The level: 1 to 22, below 1 the faster the lower, 0 the default of the library, which is
        /// 3.
        level: i32,
    },
}

#[cfg(feature = "lz4")]
const LZ4: u8 = 1;
#[cfg(feature = "zstd")]
const ZSTD: u8 = 2;

/// More than this the block format of LZ4 cannot have.
#[cfg(feature = "lz4")]
const LZ4_BYTES_MAX: usize = 0x7E00_0000;

impl Compression {
    /// Returns the levels that there are, if it is one that has levels, and the one that is set.
    pub(crate) fn level(self) -> Option<(i32, std::ops::RangeInclusive<i32>)> {
        match self {
            Self::None => None,
            #[cfg(feature = "lz4")]
            Self::Lz4 => None,
            #[cfg(feature = "zstd")]
            Self::Zstd { level } => Some((level, zstd::compression_level_range())),
        }
    }

    /// Whether it can make use of a dictionary.
    #[cfg(feature = "zstd")]
    pub(crate) fn takes_dictionary(self) -> bool {
        matches!(self, Self::Zstd { .. })
    }
}

/// Compresses payloads, one after the other.
pub(super) struct Compressor<'a> {
    with: With<'a>,
    /// What came of the last one.
    pub(super) compressed: Vec<u8>,
}

enum With<'a> {
    // The others may all be absent.
    Nothing(PhantomData<&'a ()>),
    #[cfg(feature = "lz4")]
    Lz4(Box<lz4_flex::block::CompressTable>),
    #[cfg(feature = "zstd")]
    Zstd(zstd::bulk::Compressor<'a>, u64),
}

impl<'a> Compressor<'a> {
    pub(super) fn new(sealing: &'a Sealing) -> Self {
        let with = match sealing.compression {
            Compression::None => None,
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Some(With::Lz4(Box::default())),
            #[cfg(feature = "zstd")]
            Compression::Zstd { level } => match sealing.dictionaries.own_encoder() {
                Some((encoder, id)) => zstd_with(encoder).map(|c| With::Zstd(c, id)).ok(),
                None => zstd::bulk::Compressor::new(level).map(|c| With::Zstd(c, 0)).ok(),
            },
        };
        // Where there is no memory for a compressor, nothing is compressed.
        Self { with: with.unwrap_or(With::Nothing(PhantomData)), compressed: Vec::new() }
    }

    /// Compresses a payload into [`compressed`](Self::compressed); `None` if that does not pay.
    pub(super) fn compress(&mut self, raw: &[u8]) -> Option<Compressed> {
        let raw_bytes = u32::try_from(raw.len()).ok()?;
        let (method, dictionary) = self.with.compress(raw, &mut self.compressed)?;
        let section = SECTION_HEAD_BYTES + compressed_bytes(dictionary);
        let needed = self.compressed.len() + section;
        (needed < raw.len()).then_some(Compressed { method, raw_bytes, dictionary })
    }
}

#[cfg(feature = "zstd")]
fn zstd_with<'a>(
    encoder: &'a zstd::dict::EncoderDictionary<'static>,
) -> std::io::Result<zstd::bulk::Compressor<'a>> {
    let mut compressor = zstd::bulk::Compressor::with_prepared_dictionary(encoder)?;
    // The record names the dictionary already.
    compressor.set_parameter(zstd::zstd_safe::CParameter::DictIdFlag(false))?;
    Ok(compressor)
}

impl With<'_> {
    /// Returns the method and the dictionary; `None` if it was not compressed.
    fn compress(&mut self, raw: &[u8], compressed: &mut Vec<u8>) -> Option<(u8, u64)> {
        compressed.clear();
        match self {
            Self::Nothing(_) => {
                // Without both features nothing else looks at it.
                let _ = raw;
                None
            }
            #[cfg(feature = "lz4")]
            Self::Lz4(_) if raw.len() > LZ4_BYTES_MAX => None,
            #[cfg(feature = "lz4")]
            Self::Lz4(table) => {
                let bytes_max = lz4_flex::block::get_maximum_output_size(raw.len());
                compressed.try_reserve(bytes_max).ok()?;
                compressed.resize(bytes_max, 0);
                let bytes = lz4_flex::block::compress_into_with_table(raw, compressed, table);
                compressed.truncate(bytes.ok()?);
                Some((LZ4, 0))
            }
            #[cfg(feature = "zstd")]
            Self::Zstd(compressor, dictionary) => {
                compressed.try_reserve(zstd::zstd_safe::compress_bound(raw.len())).ok()?;
                compressor.compress_to_buffer(raw, compressed).ok()?;
                Some((ZSTD, *dictionary))
            }
        }
    }
}

impl Sealing {
    /// The method and the dictionary that payloads are compressed with.
    pub(super) fn compresses_with(&self) -> Option<(u8, u64)> {
        match self.compression {
            Compression::None => None,
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Some((LZ4, 0)),
            #[cfg(feature = "zstd")]
            Compression::Zstd { .. } => {
                Some((ZSTD, self.dictionaries.own_encoder().map_or(0, |(_, id)| id)))
            }
        }
    }

    /// Decompresses a payload. Nothing is allocated before its length was compared with the limit,
    /// and nothing is written beyond that length.
    pub(super) fn decompress(
        &self,
        compressed: &[u8],
        with: Compressed,
        bytes_max: u64,
    ) -> Result<Vec<u8>, UnsealError> {
        let bytes = u64::from(with.raw_bytes);
        if bytes > bytes_max {
            return Err(UnsealError::TooLarge { bytes, bytes_max });
        }
        match with.method {
            1 => decompress_lz4(compressed, with),
            2 => self.decompress_zstd(compressed, with),
            method => Err(UnsealError::UnknownMethod { method }),
        }
    }

    #[cfg(not(feature = "zstd"))]
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    fn decompress_zstd(&self, _compressed: &[u8], _with: Compressed) -> Unsealed {
        Err(UnsealError::NotBuiltIn { feature: "zstd" })
    }

    #[cfg(feature = "zstd")]
    fn decompress_zstd(&self, compressed: &[u8], with: Compressed) -> Unsealed {
        use zstd::bulk::Decompressor;
        let no_memory = |_| UnsealError::NoMemory { bytes: with.raw_bytes.into() };
        let mut raw = room(with)?;
        let bytes = match with.dictionary {
            0 => {
                let mut decompressor = Decompressor::new().map_err(no_memory)?;
                decompressor.decompress_to_buffer(compressed, &mut raw)
            }
            dictionary => {
                let decoder = self.dictionaries.decoder(dictionary);
                let decoder = decoder.ok_or(UnsealError::MissingDictionary { dictionary })?;
                let decompressor = Decompressor::with_prepared_dictionary(&decoder);
                decompressor.map_err(no_memory)?.decompress_to_buffer(compressed, &mut raw)
            }
        };
        match bytes {
            Ok(bytes) if bytes == raw.len() && is_whole(with, bytes) => Ok(raw),
            _ => Err(UnsealError::NotDecompressible),
        }
    }
}

type Unsealed = Result<Vec<u8>, UnsealError>;

#[cfg(not(feature = "lz4"))]
fn decompress_lz4(_compressed: &[u8], _with: Compressed) -> Unsealed {
    Err(UnsealError::NotBuiltIn { feature: "lz4" })
}

#[cfg(feature = "lz4")]
fn decompress_lz4(compressed: &[u8], with: Compressed) -> Unsealed {
    // No byte of the block format stands for more than 255: what says that it is longer is no work
    // of this compression, and need not be made room for.
    if u64::from(with.raw_bytes) > (compressed.len() as u64).saturating_mul(255) {
        return Err(UnsealError::NotDecompressible);
    }
    let mut raw = room(with)?;
    raw.resize(with.raw_bytes as usize, 0);
    match lz4_flex::block::decompress_into(compressed, &mut raw) {
        Ok(bytes) if is_whole(with, bytes) => Ok(raw),
        _ => Err(UnsealError::NotDecompressible),
    }
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn room(with: Compressed) -> Unsealed {
    let mut raw = Vec::new();
    let room = raw.try_reserve_exact(with.raw_bytes as usize);
    room.map_err(|_| UnsealError::NoMemory { bytes: with.raw_bytes.into() })?;
    Ok(raw)
}

#[cfg(any(feature = "lz4", feature = "zstd"))]
fn is_whole(with: Compressed, bytes: usize) -> bool {
    bytes == with.raw_bytes as usize
}
