//! What is looked for, ready to be looked for at every place of a text.

use std::fmt;
use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::forms::Forms;
use crate::secret::{SHORTEST_MASKED, SecretValue};

/// The bytes by which a pattern is found; no pattern is shorter.
const KEY: usize = SHORTEST_MASKED;
/// Bits of the filter: 32 KiB, which stay in the nearest cache. With 100 values, each in a dozen forms, one
/// place in 200 passes it for nothing. A power of two, known here, so that no access needs a check.
const FILTER: usize = 1 << 18;

/// All forms of all values, wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Patterns {
    /// Sorted.
    texts: Vec<SecretValue>,
    /// Their first bytes, big-endian, so that their order is that of the texts.
    keys: Vec<u32>,
    /// For each text the longest other one that it begins with.
    shorter: Vec<Option<usize>>,
    /// One bit for each hash that a key has.
    filter: Box<[u64; FILTER / 64]>,
    longest: usize,
}

/// What stands at one place of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum At {
    Nothing,
    /// A pattern of this length.
    Pattern(usize),
    /// What may be one; it takes more text to know.
    Beginning,
}

impl Patterns {
    pub fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Self {
        let mut forms = Forms::default();
        values.into_iter().for_each(|value| forms.add(value));
        let mut texts: Vec<SecretValue> = forms.into_texts().collect();
        // EXPOSE: into the index, which is wiped too.
        texts.sort_unstable_by(|one, other| one.expose().cmp(other.expose()));
        let keys: Vec<u32> = texts.iter().filter_map(|text| key(text.expose())).collect();
        let shorter = shorter(&texts);
        let mut filter = Box::new([0; FILTER / 64]);
        for key in &keys {
            let bit = hash(key.swap_bytes());
            filter[bit / 64] |= 1 << (bit % 64);
        }
        let longest = texts.iter().map(|text| text.expose().len()).max().unwrap_or_default();
        Self { texts, keys, shorter, filter, longest }
    }

    /// Bytes of the longest one.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The first place, from `from` on, at which a pattern may begin; the end if there is none.
    ///
    /// This reads every byte that the command writes: one multiplication and one look into the filter each.
    pub fn candidate(&self, text: &[u8], from: usize) -> usize {
        if self.keys.is_empty() {
            return text.len();
        }
        let mut at = from;
        // Five places by one load.
        while let Some(&eight) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(eight);
            if self.passes(word)
                | self.passes(word >> 8)
                | self.passes(word >> 16)
                | self.passes(word >> 24)
                | self.passes(word >> 32)
            {
                break;
            }
            at += 5;
        }
        while let Some(&gram) = text.get(at..).and_then(<[u8]>::first_chunk::<KEY>) {
            if self.passes(u32::from_le_bytes(gram).into()) {
                return at;
            }
            at += 1;
        }
        at
    }

    /// Whether the low four bytes may begin a pattern.
    #[inline(always)]
    fn passes(&self, word: u64) -> bool {
        let bit = hash(word as u32);
        self.filter[bit / 64] >> (bit % 64) & 1 != 0
    }

    /// What stands at the beginning of `text`. If there is `more` to come, the beginning of a longer pattern
    /// counts for more than a shorter one as a whole.
    ///
    /// By two binary searches, for many values may begin as ordinary text does: `https://`, `-----BEGIN`.
    pub fn at(&self, text: &[u8], more: bool) -> At {
        let range = self.alike(text);
        // EXPOSE: compared.
        let next =
            range.start + self.texts[range.clone()].partition_point(|pattern| pattern.expose() <= text);
        let pattern = |index: usize| self.texts[index].expose();
        // What begins with `text` comes right after it.
        if more && range.end > next && pattern(next).starts_with(text) {
            return At::Beginning;
        }
        // Whatever stands between a beginning of `text` and `text` begins so too: the longest one is the last
        // pattern, or one that it begins with.
        let mut longest = (next > range.start).then(|| next - 1);
        while let Some(index) = longest {
            if text.starts_with(pattern(index)) {
                return At::Pattern(pattern(index).len());
            }
            longest = self.shorter[index];
        }
        At::Nothing
    }

    /// The length of the shortest pattern with which `text` begins, or which begins with `text`.
    pub fn shortest(&self, text: &[u8]) -> Option<usize> {
        let patterns = self.texts[self.alike(text)].iter().map(SecretValue::expose);
        patterns.filter(|p| text.starts_with(p) || p.starts_with(text)).map(<[u8]>::len).min()
    }

    /// The patterns whose first bytes are those of `text`, as far as it goes.
    fn alike(&self, text: &[u8]) -> Range<usize> {
        let known = text.len().min(KEY);
        let [mut low, mut high] = [[0; KEY], [0xff; KEY]];
        low[..known].copy_from_slice(&text[..known]);
        high[..known].copy_from_slice(&text[..known]);
        let from = self.keys.partition_point(|key| *key < u32::from_be_bytes(low));
        from..self.keys.partition_point(|key| *key <= u32::from_be_bytes(high))
    }
}

/// For each of these sorted texts the longest other one that it begins with.
fn shorter(texts: &[SecretValue]) -> Vec<Option<usize>> {
    let mut shorter: Vec<Option<usize>> = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let mut before = index.checked_sub(1);
        while let Some(other) = before.filter(|other| !text.expose().starts_with(texts[*other].expose())) {
            before = shorter[other];
        }
        shorter.push(before);
    }
    shorter
}

fn key(text: &[u8]) -> Option<u32> {
    text.first_chunk().map(|first| u32::from_be_bytes(*first))
}

/// Fibonacci hashing: the high bits of the product depend on all four bytes.
#[inline(always)]
fn hash(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (32 - FILTER.trailing_zeros())) as usize
}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patterns({} [redacted])", self.texts.len())
    }
}
