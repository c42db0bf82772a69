//! Percent-encoding as RFC 3986 has it: a plus sign is a plus sign.

/// Writes a text so that it can stand in any part of an URL; `kept` stays as it is.
pub(crate) fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let letter = char::from(byte);
        match byte.is_ascii_alphanumeric() || "-._~".contains(letter) || kept.contains(letter) {
            true => encoded.push(letter),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Undoes what [`encode`] does; a percent sign without two digits behind it stays.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digit = |index: usize| char::from(*behind.get(index)?).to_digit(16);
        let (byte, behind) = match (*first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => ((16 * high + low) as u8, &behind[2..]),
            (byte, ..) => (byte, behind),
        };
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for text in ["", "a-B_0.~", "p@s/s?#:%", "é +=&", "%4", "%%41"] {
            let encoded = encode(text, "");
            assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            assert_eq!(decode(&encoded), text.as_bytes(), "{encoded}");
        }
        assert_eq!(encode("a:b@c", ":"), "a:b%40c");
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (text, decoded) in
            [("%2Fa%2fb", "/a/b"), ("a+b=c", "a+b=c"), ("%", "%"), ("%zz", "%zz")]
        {
            assert_eq!(decode(text), decoded.as_bytes(), "{text}");
        }
    }
}
