//! Bytes as lower-case hexadecimal digits.

/// `[0xab, 1]` is `ab01`.
pub(crate) fn encode(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The reverse, upper case allowed; none when it is not pairs of digits.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes_correspond() {
        assert_eq!(encode(&[0xab, 1]), "ab01");
        assert_eq!(decode("AB01"), Some(vec![0xab, 1]));
        for bad in ["a", "zz", "é0", "+1"] {
            assert_eq!(decode(bad).filter(|b| encode(b) == bad), None, "{bad}");
        }
    }
}
