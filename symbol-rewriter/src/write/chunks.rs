//! Chunks: the bytes of an output, which borrow the unchanged parts of the input until they are written.
//!
//! Libraries are large, and little in them changes. Copying them would take most of the rewriter's
//! time.

use std::borrow::Cow;
use std::io::{IoSlice, Result, Write};

/// Chunks smaller than this are copied together, so that there are not too many of them.
const SMALL: usize = 4096;

/// The number of chunks that one `writev` can write: `IOV_MAX` (`writev(2)`).
const AT_ONCE: usize = 1024;

/// Bytes in chunks, some of them borrowed.
#[derive(Debug, Clone, Default)]
pub struct Chunks<'d> {
    list: Vec<Cow<'d, [u8]>>,
    len: usize,
}

impl<'d> From<Cow<'d, [u8]>> for Chunks<'d> {
    fn from(bytes: Cow<'d, [u8]>) -> Self {
        Chunks {
            len: bytes.len(),
            list: vec![bytes],
        }
    }
}

impl<'d> Chunks<'d> {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes, and borrows them if they are many.
    pub(crate) fn push(&mut self, bytes: &'d [u8]) {
        if bytes.len() < SMALL {
            self.copy(bytes);
        } else {
            self.len += bytes.len();
            self.list.push(Cow::Borrowed(bytes));
        }
    }

    /// Appends a copy of bytes.
    pub(crate) fn copy(&mut self, bytes: &[u8]) {
        match self.list.last_mut() {
            Some(Cow::Owned(last)) => last.extend_from_slice(bytes),
            _ => self.list.push(Cow::Owned(bytes.to_vec())),
        }
        self.len += bytes.len();
    }

    /// Appends zeros.
    pub(crate) fn pad(&mut self, count: usize) {
        if count > 0 {
            self.copy(&vec![0; count]);
        }
    }

    /// Appends other chunks.
    pub(crate) fn append(&mut self, other: Chunks<'d>) {
        for chunk in other.list {
            match chunk {
                Cow::Borrowed(bytes) => self.push(bytes),
                Cow::Owned(bytes) if bytes.len() < SMALL => self.copy(&bytes),
                Cow::Owned(bytes) => {
                    self.len += bytes.len();
                    self.list.push(Cow::Owned(bytes));
                }
            }
        }
    }

    /// The same bytes, with nothing borrowed.
    pub(crate) fn into_owned(self) -> Chunks<'static> {
        let owned = |chunk: Cow<'_, [u8]>| Cow::Owned(chunk.into_owned());
        Chunks {
            len: self.len,
            list: self.list.into_iter().map(owned).collect(),
        }
    }

    /// All bytes in one vector.
    pub fn into_vec(mut self) -> Vec<u8> {
        if let [Cow::Owned(_)] = self.list[..]
            && let Some(Cow::Owned(only)) = self.list.pop()
        {
            return only;
        }
        self.list.concat()
    }

    /// Writes all bytes.
    pub fn write_to(&self, out: &mut impl Write) -> Result<()> {
        for some in self.list.chunks(AT_ONCE) {
            let mut slices: Vec<IoSlice<'_>> =
                some.iter().map(|chunk| IoSlice::new(chunk)).collect();
            let mut rest = &mut slices[..];
            // This skips empty slices, so that a write of zero bytes is always an error.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match out.write_vectored(rest) {
                    Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                    Ok(count) => IoSlice::advance_slices(&mut rest, count),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_what_was_appended() {
        let large = vec![7; SMALL];
        let mut all = Chunks::default();
        all.push(b"a");
        all.push(&large);
        all.copy(b"bc");
        all.push(b"");
        all.pad(3);
        let mut other = Chunks::from(Cow::Borrowed(&large[..]));
        other.copy(b"z");
        all.append(other);
        let mut expected = b"a".to_vec();
        expected.extend(&large);
        expected.extend(b"bc");
        expected.extend([0; 3]);
        expected.extend(&large);
        expected.extend(b"z");
        assert_eq!(all.len(), expected.len());
        let mut written = Vec::new();
        all.write_to(&mut written).unwrap();
        assert!(written == expected);
        assert!(all.clone().into_owned().into_vec() == expected);
        assert!(all.into_vec() == expected);
    }

    #[test]
    fn a_writer_that_accepts_few_bytes_gets_all() {
        struct Little(Vec<u8>);
        impl Write for Little {
            fn write(&mut self, bytes: &[u8]) -> Result<usize> {
                let count = bytes.len().min(3);
                self.0.extend(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> Result<()> {
                Ok(())
            }
        }
        let large = vec![1; SMALL + 1];
        let mut all = Chunks::default();
        all.push(&large);
        all.copy(b"end");
        let mut out = Little(Vec::new());
        all.write_to(&mut out).unwrap();
        assert!(out.0 == all.into_vec());
    }
}
