//! A reader of bits, most significant first (ISO/IEC 14496-10 §7.2, §9.1).

use super::Error;

/// Reads bits from a slice. At its end every call gives [`Error::Incomplete`].
#[derive(Clone, Debug)]
pub struct Bits<'a> {
    data: &'a [u8],
    /// The byte in use, its next bit at the top; `left` bits of it are valid.
    byte: u8,
    left: u32,
    /// Zero bytes in a row before `data`, while emulation prevention is removed.
    zeros: Option<u8>,
}

impl<'a> Bits<'a> {
    /// A reader of all bits of `data`.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { data, byte: 0, left: 0, zeros: None }
    }

    /// A reader of the payload of a NAL unit: the 3 of each `00 00 03` is skipped
    /// (ISO/IEC 14496-10 §7.3.1).
    pub const fn rbsp(data: &'a [u8]) -> Self {
        Self { data, byte: 0, left: 0, zeros: Some(0) }
    }

    /// One bit.
    pub fn bit(&mut self) -> Result<bool, Error> {
        if self.left == 0 {
            self.byte = self.next_byte()?;
            self.left = 8;
        }
        let bit = self.byte & 0x80 != 0;
        self.byte <<= 1;
        self.left -= 1;
        Ok(bit)
    }

    /// A number of `n` bits, 0 to 32; bits above 32 are lost.
    pub fn bits(&mut self, n: u32) -> Result<u32, Error> {
        let mut value = 0;
        for _ in 0..n {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Passes over `n` bits.
    pub fn skip(&mut self, n: u32) -> Result<(), Error> {
        for _ in 0..n {
            self.bit()?;
        }
        Ok(())
    }

    /// An unsigned Exp-Golomb number, `ue(v)`: 0 to 2^32 - 2.
    pub fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros == 32 {
                return Err(Error::Invalid("Exp-Golomb number of more than 32 bits"));
            }
        }
        // 2^31 - 1 + (2^31 - 1) at most.
        Ok((1_u32 << zeros) - 1 + self.bits(zeros)?)
    }

    /// A signed Exp-Golomb number, `se(v)`.
    pub fn se(&mut self) -> Result<i32, Error> {
        let code = self.ue()?;
        let half = (code / 2) as i32;
        Ok(if code % 2 == 1 { half + 1 } else { -half })
    }

    /// How many bits are left. Emulation prevention that is in them counts.
    pub const fn left(&self) -> usize {
        self.data.len().saturating_mul(8).saturating_add(self.left as usize)
    }

    fn next_byte(&mut self) -> Result<u8, Error> {
        let mut byte = self.take()?;
        if let Some(zeros) = self.zeros {
            let mut zeros = zeros;
            if zeros >= 2 && byte == 3 {
                byte = self.take()?;
                zeros = 0;
            }
            self.zeros = Some(if byte == 0 { zeros.saturating_add(1) } else { 0 });
        }
        Ok(byte)
    }

    fn take(&mut self) -> Result<u8, Error> {
        let (&byte, rest) = self.data.split_first().ok_or(Error::Incomplete)?;
        self.data = rest;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_numbers_are_read() {
        // 1 010 011 00100 00101 00110 00111 0001000 1 (ISO/IEC 14496-10 table 9-2)
        let mut bits =
            Bits::new(&[0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0b0010_0000]);
        let values: Vec<_> = (0..8).map(|_| bits.ue().unwrap()).collect();
        assert_eq!(values, [0, 1, 2, 3, 4, 5, 6, 7]);
        let mut bits =
            Bits::new(&[0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0b0010_0000]);
        let values: Vec<_> = (0..8).map(|_| bits.se().unwrap()).collect();
        assert_eq!(values, [0, 1, -1, 2, -2, 3, -3, 4]);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let longest = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(Bits::new(&longest).ue(), Ok(u32::MAX - 1));
        assert_eq!(Bits::new(&longest).se(), Ok(-0x7fff_ffff));
        assert!(matches!(Bits::new(&[0; 16]).ue(), Err(Error::Invalid(_))));
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut bits = Bits::new(&[0xa5]);
        assert_eq!(bits.bits(8), Ok(0xa5));
        assert_eq!(bits.bit(), Err(Error::Incomplete));
        assert_eq!(bits.skip(1), Err(Error::Incomplete));
        assert_eq!(Bits::new(&[0]).ue(), Err(Error::Incomplete));
        assert_eq!(Bits::rbsp(&[0, 0, 3]).bits(24), Err(Error::Incomplete));
    }

    #[test]
    fn emulation_prevention_is_removed() {
        for (data, want) in [
            ([0u8, 0, 3, 1, 0, 0, 3, 0], [0u8, 0, 1, 0, 0, 0]),
            ([0, 0, 3, 0, 0, 3, 0, 0], [0, 0, 0, 0, 0, 0]),
            ([3, 0, 3, 0, 0, 3, 3, 9], [3, 0, 3, 0, 0, 3]),
        ] {
            let mut bits = Bits::rbsp(&data);
            let read: Vec<_> = (0..6).map(|_| bits.bits(8).unwrap() as u8).collect();
            assert_eq!(read, want);
        }
    }
}
