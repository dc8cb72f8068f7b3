//! Mutations of a corpus: what tends to break parsers of binary formats and of texts.

use crate::corpus::Corpus;
use crate::random::{Random, hash};

/// Longest input that is made, in bytes.
const SIZE_LIMIT: usize = 20 << 10;

/// Most mutations of one input.
const DEPTH: usize = 6;

/// Numbers at which something changes.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    7,
    24,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Makes mutation N of a target.
pub(crate) struct Mutator<'a> {
    inputs: Vec<&'a [u8]>,
    words: &'a [Vec<u8>],
    seed: u64,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(target: &str, corpus: &'a Corpus, seed: u64) -> Mutator<'a> {
        Mutator {
            inputs: corpus.inputs(),
            words: &corpus.words,
            seed: seed ^ hash(target),
        }
    }

    /// An input of the corpus with up to [`DEPTH`] mutations.
    pub(crate) fn mutation(&self, number: u64) -> Vec<u8> {
        let mut random = Random::new(Random::new(self.seed).next() ^ number);
        let mut input = random.one_of(&self.inputs).to_vec();
        for _ in 0..=random.below(DEPTH) {
            self.mutate(&mut input, &mut random);
            input.truncate(SIZE_LIMIT);
        }
        input
    }

    fn mutate(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        match random.below(12) {
            0 => flip_bit(input, random),
            1 => put(input, at, &[random.next() as u8]),
            2 => input.truncate(at),
            3 => drop(input.drain(at..(at + short(random)).min(input.len()))),
            4 => repeat(input, at, random),
            5 => self.splice(input, at, random),
            6 => insert(input, at, self.word(random)),
            7 => put(input, at, self.word(random)),
            8 | 9 => field(input, random),
            10 => decimal(input, at, random),
            _ => swap(input, random),
        }
    }

    fn word(&self, random: &mut Random) -> &'a [u8] {
        random.one_of::<Vec<u8>>(self.words)
    }

    /// The beginning of `input` with the end of another one.
    fn splice(&self, input: &mut Vec<u8>, at: usize, random: &mut Random) {
        let other = *random.one_of(&self.inputs);
        input.truncate(at);
        input.extend_from_slice(&other[random.below(other.len() + 1)..]);
    }
}

/// A length that is mostly small.
fn short(random: &mut Random) -> usize {
    let most = 1 << random.below(12);
    1 + random.below(most)
}

fn flip_bit(input: &mut [u8], random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] ^= 1 << random.below(8);
    }
}

/// Writes `bytes` over what is at `at`.
fn put(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(input.len());
    input.splice(at..end, bytes.iter().copied());
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

/// A piece of the input several times over: lists that grow, brackets that nest.
fn repeat(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let end = (at + short(random)).min(input.len());
    let piece = input[at..end].to_vec();
    let times = short(random).min(SIZE_LIMIT / piece.len().max(1));
    insert(input, at, &piece.repeat(times));
}

/// A word of two, four or eight bytes at a multiple of its size: an edge, a size or offset about as
/// large as the input, or a little more or less than before.
fn field(input: &mut Vec<u8>, random: &mut Random) {
    let size = *random.one_of(&[2, 4, 4, 8]);
    if input.len() < size {
        return;
    }
    let at = random.below(input.len() / size) * size;
    let mut old = [0; 8];
    old[..size].copy_from_slice(&input[at..at + size]);
    let little = |random: &mut Random| random.below(17) as u64;
    let mut new = match random.below(3) {
        0 => *random.one_of(&EDGES),
        1 => (input.len() as u64).wrapping_sub(little(random)),
        _ => u64::from_le_bytes(old)
            .wrapping_add(little(random))
            .wrapping_sub(8),
    }
    .to_le_bytes();
    if random.below(8) == 0 {
        new[..size].reverse();
    }
    put(input, at, &new[..size]);
}

/// The first decimal number from `at` on becomes an edge, or long.
fn decimal(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit) else {
        return;
    };
    let start = at + start;
    let rest = &input[start..];
    let length = rest.iter().position(|b| !b.is_ascii_digit());
    let end = start + length.unwrap_or(rest.len());
    let text = match random.below(4) {
        0 => "9".repeat(short(random).min(40)),
        1 => format!("0{}", random.one_of(&EDGES)),
        _ => random.one_of(&EDGES).to_string(),
    };
    input.splice(start..end, text.into_bytes());
}

/// Two pieces change places: entries out of order, records that overlap.
fn swap(input: &mut [u8], random: &mut Random) {
    let length = short(random).min(input.len() / 2);
    if length == 0 {
        return;
    }
    let (a, b) = (random.below(length), input.len() - length);
    let b = b.max(a + length).min(input.len() - length);
    let (head, tail) = input.split_at_mut(b);
    if let Some(piece) = head.get_mut(a..a + length) {
        piece.swap_with_slice(&mut tail[..length]);
    }
}

#[test]
fn a_mutation_is_the_same_each_time_and_most_differ() {
    let corpus = Corpus::of("elf");
    let first = Mutator::new("elf", &corpus, 1);
    let again = Mutator::new("elf", &corpus, 1);
    let other = Mutator::new("elf", &corpus, 2);
    let made: std::collections::HashSet<Vec<u8>> = (0..200).map(|n| first.mutation(n)).collect();
    assert!(made.len() > 150, "{} of 200 differ", made.len());
    for number in 0..200 {
        assert_eq!(first.mutation(number), again.mutation(number));
        assert!(first.mutation(number).len() <= SIZE_LIMIT);
    }
    assert!((0..200).any(|n| first.mutation(n) != other.mutation(n)));
}
