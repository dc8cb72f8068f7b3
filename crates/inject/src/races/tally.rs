//! What came of a race.

use std::collections::BTreeMap;

/// What came of one round of the victim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It got what it wanted, inside the root.
    Inside,
    /// It was refused: the name of an error.
    Refused(String),
    /// It got hold of something outside, or changed it.
    Escaped,
}

impl<T, E: std::fmt::Debug> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Outcome {
        match result {
            Ok(_) => Outcome::Inside,
            Err(e) => Outcome::Refused(format!("{e:?}")),
        }
    }
}

/// How many rounds of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) rounds: u64,
    pub(super) inside: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) escapes: u64,
    /// Changes that the attackers made meanwhile.
    pub(super) strikes: u64,
}

impl Tally {
    pub(super) fn note(&mut self, outcome: Outcome) {
        self.rounds += 1;
        match outcome {
            Outcome::Inside => self.inside += 1,
            Outcome::Refused(error) => *self.refused.entry(error).or_default() += 1,
            Outcome::Escaped => self.escapes += 1,
        }
    }

    pub(super) fn add(&mut self, other: &Tally) {
        self.rounds += other.rounds;
        self.inside += other.inside;
        self.escapes += other.escapes;
        self.strikes += other.strikes;
        for (error, count) in &other.refused {
            *self.refused.entry(error.clone()).or_default() += count;
        }
    }

    /// Nothing escaped, and nothing was refused but for `expected`.
    pub(super) fn assert_held(&self, expected: &[&str], what: &str) {
        println!("{what}: {self}");
        assert_eq!(self.escapes, 0, "{what}: {self}");
        let unexpected = |error: &&String| !expected.contains(&error.as_str());
        let unexpected: Vec<_> = self.refused.keys().filter(unexpected).collect();
        assert!(unexpected.is_empty(), "{what}: {unexpected:?}");
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally {
            rounds,
            inside,
            escapes,
            strikes,
            ..
        } = self;
        write!(
            f,
            "{rounds} operations, {strikes} changes, {escapes} escapes; {inside} inside"
        )?;
        let mut refused = self.refused.iter();
        refused.try_for_each(|(error, count)| write!(f, ", {count} {error}"))
    }
}
