//! What goes over the socket: names and values, with their lengths. Pure.

use zeroize::Zeroizing;

use crate::env::{Value, Variable};
use crate::env_vars;
use crate::secret::SecretValue;

/// Both ends are one binary; this catches what is not.
const MAGIC: &[u8; 8] = b"bws-env1";
/// More than any process can take.
pub const LARGEST: usize = 16 * 1024 * 1024;
/// Magic and the length of the rest.
pub const HEADER: usize = MAGIC.len() + 4;

/// The variables that we give, in one buffer that never moves. Inherited ones are this machine's and stay.
pub fn write(variables: &[Variable]) -> Zeroizing<Vec<u8>> {
    let given = || {
        variables.iter().filter_map(|variable| match &variable.value {
            Value::Given { value, .. } => Some((variable.name.as_slice(), value)),
            // Files are refused before: their paths would lead nowhere.
            Value::Inherited(_) | Value::File { .. } => None,
        })
    };
    let body: usize = given().map(|(name, value)| 8 + name.len() + value.expose().len()).sum();
    let mut frame = Zeroizing::new(Vec::with_capacity(HEADER + body));
    frame.extend_from_slice(MAGIC);
    length(&mut frame, body);
    for (name, value) in given() {
        // EXPOSE: to the one process that it is for.
        for part in [name, value.expose()] {
            length(&mut frame, part.len());
            frame.extend_from_slice(part);
        }
    }
    frame
}

/// Sizes are checked before: a body has at most 6 MiB.
fn length(frame: &mut Vec<u8>, length: usize) {
    frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

/// How long the body after this header is.
pub fn body_length(header: &[u8; HEADER]) -> Result<usize, &'static str> {
    let (magic, mut length) = header.split_at(MAGIC.len());
    match (magic == MAGIC, number(&mut length)) {
        (true, Some(length)) if length <= LARGEST => Ok(length),
        _ => Err("what was received is no environment"),
    }
}

/// The names and values of a body.
pub fn read(mut body: &[u8]) -> Result<Vec<(Vec<u8>, SecretValue)>, &'static str> {
    let mut variables = Vec::new();
    while !body.is_empty() {
        let (Some(name), Some(value)) = (part(&mut body), part(&mut body)) else {
            return Err("what was received is cut short");
        };
        let possible =
            !name.is_empty() && !name.iter().chain(value).any(|&byte| byte == 0) && !name.contains(&b'=');
        if !possible || env_vars::is_ours(name) {
            return Err("what was received has a name or value that is not possible");
        }
        variables.push((name.to_vec(), SecretValue::new(Zeroizing::new(value.to_vec()))));
    }
    Ok(variables)
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(rest)?;
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

fn number(rest: &mut &[u8]) -> Option<usize> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*number)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::env::{Rule, Source};

    fn given(name: &[u8], value: &[u8]) -> Variable {
        let source = Source { rule: Rule::Bulk, secrets: Vec::new(), overrides: Vec::new() };
        let value = SecretValue::new(Zeroizing::new(value.to_vec()));
        Variable { name: name.to_vec(), value: Value::Given { value, source } }
    }

    fn received(frame: &[u8]) -> Result<Vec<(Vec<u8>, SecretValue)>, &'static str> {
        let (header, body) = frame.split_first_chunk::<HEADER>().ok_or("short")?;
        assert_eq!(body_length(header)?, body.len());
        read(body)
    }

    #[test]
    fn inherited_variables_stay() {
        let here =
            Variable { name: b"PATH".to_vec(), value: Value::Inherited(b"PATH=/bin".as_slice().into()) };
        let frame = write(&[here, given(b"A", b"1")]);
        let names: Vec<_> = received(&frame).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, [b"A"]);
    }

    #[test]
    fn impossible_names_and_values_are_refused() {
        let cases: [(&[u8], &[u8]); 5] =
            [(b"", b"x"), (b"A=B", b"x"), (b"A\0", b"x"), (b"A", b"x\0"), (b"BWS_ACCESS_TOKEN", b"x")];
        for (name, value) in cases {
            assert!(received(&write(&[given(name, value)])).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(variables in proptest::collection::vec(("[A-Z]{1,9}", "[^\0]{0,99}"), 0..9)) {
            let list: Vec<_> = variables.iter().map(|(n, v)| given(n.as_bytes(), v.as_bytes())).collect();
            let read = received(&write(&list)).unwrap();
            prop_assert_eq!(read.len(), variables.len());
            for ((name, value), (read_name, read_value)) in variables.iter().zip(&read) {
                prop_assert_eq!(name.as_bytes(), read_name.as_slice());
                prop_assert_eq!(value.as_bytes(), read_value.expose());
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
