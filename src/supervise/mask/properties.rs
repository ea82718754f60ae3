//! Masking against a reference that has the whole text, for values, texts and cuts at random.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::{Masker, Patterns, REPLACEMENT};
use crate::secret::SecretValue;

fn secrets(values: &[Vec<u8>]) -> Vec<SecretValue> {
    values.iter().map(|value| SecretValue::new(Zeroizing::new(value.clone()))).collect()
}

/// Every value and every line of it, of 4 bytes or more.
fn raw(values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let lines =
        values.iter().flat_map(|value| value.split(|byte| b"\r\n".contains(byte)).map(<[u8]>::to_vec));
    values.iter().cloned().chain(lines).filter(|text| text.len() >= 4).collect()
}

/// At each place the longest that stands there. For values without encoded forms.
fn reference(values: &[Vec<u8>], text: &[u8]) -> Vec<u8> {
    let patterns = raw(values);
    let mut masked = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let longest = patterns.iter().filter(|pattern| rest.starts_with(pattern)).map(Vec::len).max();
        match longest {
            Some(length) => {
                masked.extend_from_slice(REPLACEMENT);
                rest = &rest[length..];
            }
            None => {
                masked.push(*first);
                rest = after;
            }
        }
    }
    masked
}

/// Cuts a text at random places, empty pieces included.
fn pieces<'a>(text: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.extend([0, text.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Few letters, so that values share beginnings, stand in one another and in the text by chance.
fn letters(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(&b"aab\n"[..]), length)
}

/// Values, and a text made of them, of parts of them and of anything.
fn cases(
    value: impl Strategy<Value = Vec<u8>> + 'static,
) -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<u8>, Vec<prop::sample::Index>)> {
    let values = prop::collection::vec(value, 0..6);
    let part = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), letters(0..6), any::<u8>());
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..12);
    (values, prop::collection::vec(part, 0..20), cuts).prop_map(|(values, parts, cuts)| {
        let mut text = Vec::new();
        for (which, end, letters, kind) in parts {
            match (kind % 3, values.is_empty()) {
                (0, false) => text.extend_from_slice(which.get::<Vec<u8>>(&values)),
                (1, false) => {
                    let value = which.get::<Vec<u8>>(&values);
                    text.extend_from_slice(&value[..end.index(value.len() + 1)]);
                }
                _ => text.extend_from_slice(&letters),
            }
        }
        (values, text, cuts)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn output_is_that_of_the_reference((values, text, cuts) in cases(letters(0..11))) {
        let secrets = secrets(&values);
        let patterns = Patterns::new(&secrets);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        let mut fed = 0;
        for piece in pieces(&text, &cuts) {
            masker.feed(piece, &mut out);
            fed += piece.len();
            let longest = raw(&values).iter().map(Vec::len).max().unwrap_or(1);
            prop_assert!(masker.held() < longest, "{} of {longest}", masker.held());
            // Only what may become a pattern waits.
            let may_be = |from: usize| raw(&values).iter().any(|value| value.starts_with(&text[from..fed]));
            prop_assert!(masker.held() == 0 || may_be(fed - masker.held()));
        }
        masker.finish(&mut out);
        prop_assert_eq!(&out, &reference(&values, &text));
        for value in raw(&values) {
            prop_assert!(!contains(&out, &value));
        }
    }

    /// With a pause after every piece: no value is shown, nor more than half of one before its replacement.
    #[test]
    fn pauses_show_no_value((values, text, cuts) in cases(letters(0..11))) {
        let secrets = secrets(&values);
        let patterns = Patterns::new(&secrets);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        for piece in pieces(&text, &cuts) {
            masker.feed(piece, &mut out);
            masker.pause(&mut out);
            let shown = out.len();
            masker.pause(&mut out);
            prop_assert_eq!(out.len(), shown, "the same pause");
        }
        masker.finish(&mut out);
        for value in raw(&values) {
            prop_assert!(!contains(&out, &value), "{}", String::from_utf8_lossy(&out));
        }
        // Without the replacements it is a subsequence of the text: nothing is shown twice.
        let mut rest = text.iter();
        for byte in String::from_utf8(out).unwrap().replace("***", "").bytes() {
            prop_assert!(rest.any(|other| *other == byte));
        }
    }

    /// Any bytes, values with all their forms, longer than a piece of the buffer.
    #[test]
    fn cuts_change_nothing(
        (values, text, cuts) in cases(prop::collection::vec(any::<u8>(), 0..40)),
        filling in 0..3_usize,
    ) {
        let text = [&vec![b'.'; filling * 50_000][..], &text, &vec![b'.'; filling * 20_000], &text].concat();
        let secrets = secrets(&values);
        let patterns = Patterns::new(&secrets);
        let [mut whole, mut cut] = [Vec::new(), Vec::new()];
        let mut masker = Masker::new(&patterns);
        masker.feed(&text, &mut whole);
        masker.finish(&mut whole);
        let mut masker = Masker::new(&patterns);
        for piece in pieces(&text, &cuts) {
            masker.feed(piece, &mut cut);
        }
        masker.finish(&mut cut);
        prop_assert!(whole == cut);
        for value in raw(&values).iter().filter(|value| !value.contains(&b'*')) {
            prop_assert!(!contains(&whole, value));
        }
    }

    #[test]
    fn what_has_no_value_passes_unchanged(
        values in prop::collection::vec("[A-Z]{0,30}", 0..8),
        text in prop::collection::vec(prop_oneof![0..b'+', b'a'..=255], 0..2000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let values: Vec<Vec<u8>> = values.into_iter().map(String::into_bytes).collect();
        let secrets = secrets(&values);
        let patterns = Patterns::new(&secrets);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        // Of base64 only lower-case letters can be here, never a whole form.
        for piece in pieces(&text, &cuts) {
            masker.feed(piece, &mut out);
        }
        masker.finish(&mut out);
        prop_assert!(out == text);
    }
}

/// One stream with a few values, as a table of what is fed and what comes out.
#[track_caller]
fn stream(values: &[&str], steps: &[(Step, &str)]) {
    let values: Vec<Vec<u8>> = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    let secrets = secrets(&values);
    let patterns = Patterns::new(&secrets);
    let mut masker = Masker::new(&patterns);
    for (step, expected) in steps {
        let mut out = Vec::new();
        match step {
            Step::Feed(text) => masker.feed(text.as_bytes(), &mut out),
            Step::Pause => masker.pause(&mut out),
            Step::Finish => masker.finish(&mut out),
        }
        assert_eq!(String::from_utf8_lossy(&out), *expected, "after {step:?}");
    }
}

#[derive(Debug)]
enum Step {
    Feed(&'static str),
    Pause,
    Finish,
}
use Step::{Feed, Finish, Pause};

#[test]
fn prompts_show_and_values_do_not() {
    stream(&["Password: 12"], &[(Feed("Password: "), ""), (Pause, "Passwo"), (Feed("\n"), "rd: \n")]);
    stream(&["secret"], &[(Feed("a sec"), "a "), (Feed("ret b"), "*** b"), (Finish, "")]);
    stream(&["secret"], &[(Feed("a sec"), "a "), (Pause, "sec"), (Feed("ret b"), "*** b")]);
    stream(&["secret"], &[(Feed("a s"), "a "), (Pause, "s"), (Feed("uch"), "uch"), (Finish, "")]);
    stream(&["secret"], &[(Feed("secre"), ""), (Pause, "sec"), (Pause, ""), (Finish, "re")]);
    // Of two that stand at one place, the longer; until it is known, the shorter is not shown either.
    stream(&["abcd", "abcdefgh"], &[(Feed("abcdef"), ""), (Pause, "ab"), (Feed("g-"), "***efg-")]);
    stream(&["abcd", "abcdefgh"], &[(Feed("abcdef"), ""), (Feed("gh"), "***")]);
    stream(&["abcd", "abcdefgh"], &[(Feed("abcd"), ""), (Finish, "***")]);
    // Neither is what stands before it in order.
    stream(&["abcd", "abcdx", "abcdy", "abcdyy"], &[(Feed("abcdz abcdyz"), "***z ***z")]);
    // One inside what another may become.
    stream(&["xxabcdyyyyyyyyyy", "abcd"], &[(Feed("xxabcdyy"), ""), (Pause, "xxab"), (Finish, "***yy")]);
    stream(&[], &[(Feed("anything"), "anything"), (Pause, ""), (Finish, "")]);
    stream(&["", "a", "ab", "abc"], &[(Feed("abc"), "abc")]);
}

#[test]
fn encoded_forms_are_found_inside_other_text() {
    stream(
        &["correct horse \"battery\""],
        &[
            (Feed("u=correct%20horse%20%22battery%22&v"), "u=***&v"),
            (Feed("{\"p\":\"correct horse \\\"battery\\\"\"}"), "{\"p\":\"***\"}"),
            (Feed("b Y29ycmVjdCBob3JzZSAiYmF0dGVyeSI= e"), "b *** e"),
            // "x:" before it. Characters at the edges that also hold bits of others stay.
            (Feed("b eDpjb3JyZWN0IGhvcnNlICJiYXR0ZXJ5Ig== e"), "b eDp***g== e"),
        ],
    );
}

#[test]
fn debug_is_redacted() {
    let secrets = secrets(&[b"hunter2".to_vec()]);
    let patterns = Patterns::new(&secrets);
    let mut masker = Masker::new(&patterns);
    masker.feed(b"hunt", &mut Vec::new());
    assert_eq!(format!("{patterns:?} {masker:?}"), "Patterns(1 [redacted]) Masker([redacted])");
}
