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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_letters_that_mean_nothing_stay() {
        assert_eq!(encode("a-B_0.~", ""), "a-B_0.~");
        assert_eq!(encode("p@s/s?#:%é +=&", ""), "p%40s%2Fs%3F%23%3A%25%C3%A9%20%2B%3D%26");
        assert_eq!(encode("a:b@c", ":"), "a:b%40c");
    }
}
