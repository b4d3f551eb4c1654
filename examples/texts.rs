//! The texts whose words are counted, and what names each of them as an input.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use xxhash_rust::xxh3::Xxh3Default;

use crate::PRIDE_AND_PREJUDICE;

/// So many bytes of a path are in a source's name, which has 200 at most.
const PATH_BYTES_MAX: usize = 140;

/// A text.
#[derive(Debug)]
pub struct Text {
    /// What errors call it.
    pub name: String,
    /// What it is called as an input that can be read again: its path, its length and its content,
    /// so that a file that has changed is another input.
    pub source: Option<String>,
    content: Content,
    progress: ProgressBar,
}

#[derive(Debug)]
enum Content {
    File(File),
    Input,
    Shipped,
}

impl Text {
    /// Returns the path of the text if one of these inputs is what it was before it changed.
    pub fn changed<'a>(&self, mut inputs: impl Iterator<Item = &'a str>) -> Option<&str> {
        let source = self.source.as_deref()?;
        let path = path_of(source);
        inputs.any(|input| input != source && path_of(input) == path).then_some(path)
    }

    /// Reads the text from a place on.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read_from(self, offset: u64) -> anyhow::Result<Box<dyn BufRead>> {
        let Self { name, source, content, progress } = self;
        progress.inc(offset);
        Ok(match content {
            Content::File(mut file) => {
                if source.is_some() {
                    let sought = file.seek(SeekFrom::Start(offset));
                    sought.with_context(|| format!("cannot read {name}"))?;
                }
                Box::new(BufReader::new(progress.wrap_read(file)))
            }
            Content::Input => Box::new(io::stdin().lock()),
            Content::Shipped => {
                let rest =
                    usize::try_from(offset).ok().and_then(|at| PRIDE_AND_PREJUDICE.get(at..));
                Box::new(BufReader::new(progress.wrap_read(rest.unwrap_or_default())))
            }
        })
    }
}

/// All texts, opened at the start, so that a mistyped name costs no work.
#[derive(Debug)]
pub struct Texts {
    texts: std::vec::IntoIter<Text>,
    progress: ProgressBar,
}

impl Texts {
    /// Opens files; `-` is standard input, and none is the text that ships.
    ///
    /// # Errors
    /// A file cannot be read, or is there twice.
    pub fn open(files: &[PathBuf]) -> anyhow::Result<Self> {
        // The bar shows itself only if standard error is a terminal.
        let progress = ProgressBar::new(0).with_style(ProgressStyle::with_template(
            "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        )?);
        let mut texts = Vec::new();
        for path in files {
            let name = path.display().to_string();
            let (content, source) = match &*name {
                "-" => (Content::Input, None),
                _ => {
                    let cannot_read = || format!("cannot read {name}");
                    let mut file = File::open(path).with_context(cannot_read)?;
                    // A pipe comes once, too.
                    let source = match file.metadata().with_context(cannot_read)?.is_file() {
                        true => {
                            let found = identify(path, &mut file).with_context(cannot_read)?;
                            progress.inc_length(found.0);
                            Some(found.1)
                        }
                        false => None,
                    };
                    (Content::File(file), source)
                }
            };
            if source.is_some() && texts.iter().any(|text: &Text| text.source == source) {
                bail!(
                    "{name} is there twice, and is one input: count it once, or make a copy of it"
                );
            }
            texts.push(Text { name, source, content, progress: progress.clone() });
        }
        if files.is_empty() {
            progress.inc_length(PRIDE_AND_PREJUDICE.len() as u64);
            let name = "Pride and Prejudice".to_owned();
            let source = Some(name.clone());
            let (content, progress) = (Content::Shipped, progress.clone());
            texts.push(Text { name, source, content, progress });
        }
        Ok(Self { texts: texts.into_iter(), progress })
    }
}

impl Iterator for Texts {
    type Item = Text;

    fn next(&mut self) -> Option<Text> {
        self.texts.next()
    }
}

impl Drop for Texts {
    fn drop(&mut self) {
        self.progress.finish_and_clear();
    }
}

/// Returns the path in the name of an input: length and hash are behind it.
fn path_of(source: &str) -> &str {
    source.rsplitn(3, ' ').nth(2).unwrap_or(source)
}

/// Returns how long a file is, and what it is called as an input.
fn identify(path: &Path, file: &mut File) -> io::Result<(u64, String)> {
    let path = path.canonicalize()?;
    let path = path.to_string_lossy();
    let mut hasher = Xxh3Default::new();
    hasher.update(path.as_bytes());
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                bytes += read as u64;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    // The end of a long path: what is cut off is in the hash.
    let start = path.len().saturating_sub(PATH_BYTES_MAX);
    let start = (start..path.len()).find(|at| path.is_char_boundary(*at)).unwrap_or(start);
    let shown = path.get(start..).unwrap_or_default();
    Ok((bytes, format!("{shown} {bytes} {:016x}", hasher.digest())))
}
