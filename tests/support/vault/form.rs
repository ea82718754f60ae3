//! `application/x-www-form-urlencoded`, in bodies and queries.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// The fields in their order. A raw `+` is a space, as in any form.
pub fn parse(text: &[u8]) -> Vec<(String, String)> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let split = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = split.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            (decode(name), decode(value))
        })
        .collect()
}

fn decode(text: &[u8]) -> String {
    let spaced: Cow<'_, [u8]> = match text.contains(&b'+') {
        true => text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect(),
        false => text.into(),
    };
    percent_decode(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_decoded() {
        let fields = super::parse(b"a=1%2B1&b=x+y&c&=d");
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(fields, [("a", "1+1"), ("b", "x y"), ("c", ""), ("", "d")]);
    }
}
