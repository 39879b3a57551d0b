//! The producer of an LLVM bitcode file: the string in its identification block.
//!
//! LLVM reads bitcode of older versions, but not of newer ones. The identification block comes
//! first and its format does not change, so it can be read from any version.

/// The magic number of a bitcode file.
const MAGIC: &[u8] = b"BC\xc0\xde";

/// The magic number of a file with a header before the bitcode, as on Darwin.
const WRAPPER: &[u8] = b"\xde\xc0\x17\x0b";

/// The numbers of the block and of the record with the string.
const IDENTIFICATION: u64 = 13;
const STRING: u64 = 1;

/// Whether this is a bitcode file.
pub fn is_bitcode(data: &[u8]) -> bool {
    data.starts_with(MAGIC) || data.starts_with(WRAPPER)
}

/// The producer, for instance `LLVM22.1.2-rust-1.95.0-stable`.
pub fn producer(data: &[u8]) -> Option<String> {
    let mut data = data;
    if data.starts_with(WRAPPER) {
        let field = |at: usize| -> Option<usize> {
            let bytes = data.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        data = data.get(field(8)?..)?;
    }
    let data = data.strip_prefix(MAGIC)?;
    let mut bits = Bits { data, at: 0 };
    // At the top level an abbreviation ID has two bits. 1 is ENTER_SUBBLOCK.
    if bits.fixed(2)? != 1 || bits.vbr(8)? != IDENTIFICATION {
        return None;
    }
    let width = u32::try_from(bits.vbr(4)?).ok()?;
    bits.align();
    bits.fixed(32)?;
    let mut abbreviations: Vec<Vec<Operand>> = Vec::new();
    loop {
        let record = match bits.fixed(width)? {
            0 => return None,
            2 => {
                abbreviations.push(bits.definition()?);
                continue;
            }
            3 => bits.unabbreviated()?,
            number => {
                let index = usize::try_from(number).ok()?.checked_sub(4)?;
                bits.abbreviated(abbreviations.get(index)?)?
            }
        };
        if record.first() == Some(&STRING) {
            let bytes = record[1..].iter().map(|&value| u8::try_from(value));
            let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().ok()?;
            return String::from_utf8(bytes).ok();
        }
    }
}

/// The version within a producer's name: `22.1.2` of `LLVM22.1.2-rust-1.95.0-stable`.
pub fn version(name: &str) -> Option<Version> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = name[digits..]
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next().unwrap_or(0)])
}

/// The major and the minor version.
pub type Version = [u32; 2];

/// The encoding of a value.
#[derive(Debug, Clone, Copy)]
enum Operand {
    Literal(u64),
    Fixed(u32),
    Vbr(u32),
    Array,
    Char6,
    Blob,
}

/// A stream of bits, the lowest of a byte first.
struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    fn fixed(&mut self, width: u32) -> Option<u64> {
        if width > 64 {
            return None;
        }
        let mut value = 0;
        for bit in 0..width {
            let byte = self.data.get(self.at / 8)?;
            value |= u64::from(byte >> (self.at % 8) & 1) << bit;
            self.at += 1;
        }
        Some(value)
    }

    /// Variable bit rate: groups of this many bits. The highest bit says that another one follows.
    fn vbr(&mut self, width: u32) -> Option<u64> {
        let high = 1u64.checked_shl(width.checked_sub(1)?)?;
        let mut value = 0;
        let mut shift = 0;
        loop {
            let chunk = self.fixed(width)?;
            value |= (chunk & (high - 1)).checked_shl(shift)?;
            if chunk & high == 0 {
                return Some(value);
            }
            shift += width - 1;
        }
    }

    fn align(&mut self) {
        self.at = self.at.next_multiple_of(32);
    }

    fn definition(&mut self) -> Option<Vec<Operand>> {
        let count = self.vbr(5)?;
        let mut operands = Vec::new();
        for _ in 0..count {
            operands.push(if self.fixed(1)? == 1 {
                Operand::Literal(self.vbr(8)?)
            } else {
                match self.fixed(3)? {
                    1 => Operand::Fixed(u32::try_from(self.vbr(5)?).ok()?),
                    2 => Operand::Vbr(u32::try_from(self.vbr(5)?).ok()?),
                    3 => Operand::Array,
                    4 => Operand::Char6,
                    5 => Operand::Blob,
                    _ => return None,
                }
            });
        }
        Some(operands)
    }

    fn unabbreviated(&mut self) -> Option<Vec<u64>> {
        let mut record = vec![self.vbr(6)?];
        let count = self.vbr(6)?;
        for _ in 0..count {
            record.push(self.vbr(6)?);
        }
        Some(record)
    }

    fn abbreviated(&mut self, operands: &[Operand]) -> Option<Vec<u64>> {
        let mut record = Vec::new();
        let mut operands = operands.iter();
        while let Some(operand) = operands.next() {
            match operand {
                Operand::Array => {
                    let element = *operands.next()?;
                    let count = self.vbr(6)?;
                    for _ in 0..count {
                        record.push(self.scalar(element)?);
                    }
                }
                // The identification block contains none.
                Operand::Blob => return None,
                scalar => record.push(self.scalar(*scalar)?),
            }
        }
        Some(record)
    }

    fn scalar(&mut self, operand: Operand) -> Option<u64> {
        const CHAR6: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
        match operand {
            Operand::Literal(value) => Some(value),
            Operand::Fixed(width) => self.fixed(width),
            Operand::Vbr(width) => self.vbr(width),
            Operand::Char6 => {
                let index = usize::try_from(self.fixed(6)?).ok()?;
                CHAR6.get(index).map(|&byte| byte.into())
            }
            Operand::Array | Operand::Blob => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(version("LLVM22.1.2-rust-1.95.0-stable"), Some([22, 1]));
        assert_eq!(version("Debian LLD 14.0.6"), Some([14, 0]));
        assert_eq!(version("libLLVM-14.so.1"), Some([14, 0]));
        assert_eq!(version("LLVM"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(tail in proptest::collection::vec(0u8.., 0..200)) {
            let mut data = MAGIC.to_vec();
            // An identification block, entered properly.
            data.extend([0x35, 0x14, 0, 0, 5, 0, 0, 0]);
            data.extend(tail);
            let _ = producer(&data);
        }
    }
}
