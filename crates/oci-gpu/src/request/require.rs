//! Requirement expressions (`NVIDIA_REQUIRE_*`): what an image needs of the driver and the GPUs.
//!
//! ```text
//! expression  = alternative { white-space alternative }    one of them must hold
//! alternative = term { "," term }                          all of them must hold
//! term        = name operator value                        no white space inside
//! operator    = "=" | "!=" | "<" | "<=" | ">" | ">="
//! ```
//!
//! | name | compared with | how |
//! |---|---|---|
//! | cuda | the newest CUDA version that the driver supports | as a version |
//! | driver | the driver's version | as a version |
//! | arch | a GPU's compute capability | as a version |
//! | brand | a GPU's brand ("Tesla") | as a word in any case; only = and != |
//!
//! Versions compare number by number; one that ends early goes on with zeros. An expression must
//! hold for each GPU that the container gets; without GPUs, terms on GPUs hold. The grammar is
//! libnvidia-container's (cli/dsl.c). It differs in two points: a fact that is not known fails a
//! term there never, here always; and here every term that fails is named, there the first
//! alternative only.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Requirement;
use crate::finding::{Code, Finding, quote};

/// Longest expression, in bytes. CUDA images have up to 3000.
pub const EXPRESSION_LIMIT: usize = 16 << 10;

/// Most terms of an expression.
pub const TERM_LIMIT: usize = 1024;

/// What requirements are held against.
#[derive(Clone, Copy, Debug)]
pub struct RequireFacts<'a> {
    /// The driver's version ("550.163.01").
    pub driver: &'a str,
    /// The newest CUDA version that the driver supports, major and minor, where it is known.
    pub cuda: Option<(u32, u32)>,
    /// The GPUs that the container gets, those included of which it gets an instance.
    pub devices: &'a [DeviceTraits],
}

/// What requirements can ask of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTraits {
    /// Its index, for messages.
    pub index: u32,
    /// Its compute capability, major and minor, where it is known.
    pub arch: Option<(u32, u32)>,
    /// Its brand as NVML names it, where it is known.
    pub brand: Option<String>,
}

/// Whether every requirement holds.
///
/// # Errors
/// One finding [`Code::Requirement`] that names each term that fails, of every requirement that
/// does not hold and for every GPU, with the fact that it fails on. A term that cannot be read
/// counts as one that fails. An expression beyond the limits is refused whole.
pub fn check(requirements: &[Requirement], facts: &RequireFacts<'_>) -> Result<(), Finding> {
    let mut failures = Vec::new();
    let mut remedy = Remedy::default();
    for requirement in requirements {
        let expression = Expression::parse(requirement)?;
        let unmet = expression.unmet(facts);
        if !unmet.is_empty() {
            remedy.note(&unmet);
            failures.push(format!("{}: {}", requirement.name, by_reason(&unmet)));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let message = format!("requirements are not met: {}", failures.join("; "));
    Err(Finding::new(Code::Requirement, message, remedy.text()))
}

/// Alternatives, each a list of terms.
struct Expression<'a>(Vec<Vec<Term<'a>>>);

#[derive(Clone, Copy)]
struct Term<'a> {
    text: &'a str,
    test: Test<'a>,
}

#[derive(Clone, Copy)]
enum Test<'a> {
    Cuda(Operator, Version<'a>),
    Driver(Operator, Version<'a>),
    Arch(Operator, Version<'a>),
    Brand { same: bool, word: &'a str },
    Unreadable(&'static str),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => order.is_ne(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => order.is_le(),
            Operator::Greater => order.is_gt(),
            Operator::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// Numbers with dots between, checked to be so.
#[derive(Clone, Copy)]
struct Version<'a>(&'a str);

impl<'a> Version<'a> {
    fn parse(text: &'a str) -> Option<Version<'a>> {
        let number = |n: &str| n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u64>().is_ok();
        text.split('.').all(number).then_some(Version(text))
    }

    fn numbers(self) -> impl Iterator<Item = u64> {
        self.0.split('.').map(|n| n.parse().unwrap_or(u64::MAX))
    }

    fn compare(self, other: Version<'_>) -> Ordering {
        let (mut a, mut b) = (self.numbers(), other.numbers());
        loop {
            match (a.next(), b.next()) {
                (None, None) => return Ordering::Equal,
                (x, y) => match x.unwrap_or(0).cmp(&y.unwrap_or(0)) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
            }
        }
    }
}

impl<'a> Expression<'a> {
    fn parse(requirement: &'a Requirement) -> Result<Expression<'a>, Finding> {
        let text = requirement.expression.as_str();
        let too_much = |what: String| {
            let message = format!("{}: the expression has more than {what}", requirement.name);
            let remedy = "shorten it, or set NVIDIA_DISABLE_REQUIRE=true in the container";
            Finding::new(Code::Requirement, message, remedy)
        };
        if text.len() > EXPRESSION_LIMIT {
            return Err(too_much(format!("{EXPRESSION_LIMIT} bytes")));
        }
        let mut count = 0;
        let mut alternatives = Vec::new();
        for alternative in text.split_ascii_whitespace() {
            let terms: Vec<Term<'_>> = alternative.split(',').map(Term::parse).collect();
            count += terms.len();
            alternatives.push(terms);
        }
        match count > TERM_LIMIT {
            true => Err(too_much(format!("{TERM_LIMIT} terms"))),
            false => Ok(Expression(alternatives)),
        }
    }

    /// The terms that fail and why, where the expression does not hold; nothing where it does.
    fn unmet(&self, facts: &RequireFacts<'_>) -> Vec<Unmet<'a>> {
        let devices: Vec<Option<&DeviceTraits>> = match facts.devices {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let mut unmet = Vec::new();
        let mut seen = HashSet::new();
        for device in devices {
            let mut failed = Vec::new();
            let held = self.0.iter().any(|alternative| {
                let before = failed.len();
                for term in alternative {
                    if let Err(reason) = term.holds(facts, device) {
                        failed.push((*term, reason));
                    }
                }
                failed.len() == before
            });
            if held {
                continue;
            }
            for (term, reason) in failed {
                if seen.insert((term.text, reason.clone())) {
                    unmet.push(Unmet { term, reason });
                }
            }
        }
        unmet
    }
}

impl<'a> Term<'a> {
    fn parse(text: &'a str) -> Term<'a> {
        let test = Term::test(text).unwrap_or_else(Test::Unreadable);
        Term { text, test }
    }

    fn test(text: &'a str) -> Result<Test<'a>, &'static str> {
        let is_operator = |c: char| matches!(c, '<' | '>' | '=' | '!');
        let start = text.find(is_operator);
        let start = start.ok_or("it has no operator (=, !=, <, <=, >, >=)")?;
        let (name, rest) = text.split_at(start);
        let value = rest.trim_start_matches(is_operator);
        let operator = match rest.strip_suffix(value).unwrap_or(rest) {
            "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            "<" => Operator::Less,
            "<=" => Operator::LessOrEqual,
            ">" => Operator::Greater,
            ">=" => Operator::GreaterOrEqual,
            _ => return Err("its operator is none of =, !=, <, <=, >, >="),
        };
        let version = || Version::parse(value).ok_or("its value is no version (12.4)");
        match name {
            "cuda" => Ok(Test::Cuda(operator, version()?)),
            "driver" => Ok(Test::Driver(operator, version()?)),
            "arch" => Ok(Test::Arch(operator, version()?)),
            "brand" if value.is_empty() => Err("it names no brand"),
            "brand" => match operator {
                Operator::Equal => Ok(Test::Brand {
                    same: true,
                    word: value,
                }),
                Operator::NotEqual => Ok(Test::Brand {
                    same: false,
                    word: value,
                }),
                _ => Err("brands compare by = and != only"),
            },
            _ => Err("its name is none of cuda, driver, arch, brand"),
        }
    }

    /// Whether the term holds for `device`, else the fact that it fails on.
    fn holds(&self, facts: &RequireFacts<'_>, device: Option<&DeviceTraits>) -> Result<(), String> {
        let compare = |operator: Operator, wanted: Version<'_>, is: &str, what: String| {
            let is = Version::parse(is).ok_or_else(|| format!("{what}, which is no version"))?;
            operator.holds(is.compare(wanted)).then_some(()).ok_or(what)
        };
        match self.test {
            Test::Unreadable(why) => Err(why.to_owned()),
            Test::Driver(operator, wanted) => {
                let what = format!("the driver is {}", facts.driver);
                compare(operator, wanted, facts.driver, what)
            }
            Test::Cuda(operator, wanted) => {
                let (major, minor) = facts.cuda.ok_or_else(|| {
                    format!(
                        "which CUDA version driver {} supports{NOT_KNOWN}",
                        facts.driver
                    )
                })?;
                let is = format!("{major}.{minor}");
                let what = format!("the driver supports CUDA up to {is}");
                compare(operator, wanted, &is, what)
            }
            Test::Arch(operator, wanted) => {
                let Some(device) = device else {
                    return Ok(());
                };
                let gpu = device.index;
                let (major, minor) = device
                    .arch
                    .ok_or_else(|| format!("the compute capability of GPU {gpu}{NOT_KNOWN}"))?;
                let is = format!("{major}.{minor}");
                let what = format!("GPU {gpu} has compute capability {is}");
                compare(operator, wanted, &is, what)
            }
            Test::Brand { same, word } => {
                let Some(device) = device else {
                    return Ok(());
                };
                let gpu = device.index;
                let brand = device.brand.as_deref();
                let brand = brand.ok_or_else(|| format!("the brand of GPU {gpu}{NOT_KNOWN}"))?;
                let holds = brand.eq_ignore_ascii_case(word) == same;
                holds
                    .then_some(())
                    .ok_or_else(|| format!("the brand of GPU {gpu} is {brand}"))
            }
        }
    }
}

/// A term that fails.
struct Unmet<'a> {
    term: Term<'a>,
    reason: String,
}

/// "cuda>=12.4 and driver>=550 fail: the driver is ...": the terms that fail on one fact together.
fn by_reason(unmet: &[Unmet<'_>]) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for Unmet { term, reason } in unmet {
        let shown = match term.test {
            Test::Unreadable(_) => quote(term.text),
            _ => term.text.to_owned(),
        };
        match groups.iter_mut().find(|(r, _)| r == reason) {
            Some((_, terms)) => terms.push(shown),
            None => groups.push((reason, vec![shown])),
        }
    }
    let groups = groups
        .iter()
        .map(|(reason, terms)| format!("{} ({reason})", terms.join(" ")));
    groups.collect::<Vec<_>>().join(", ")
}

/// How a reason ends that is the lack of a fact, which NVML could tell.
const NOT_KNOWN: &str = " is not known";

/// What would help, gathered from the terms that fail.
#[derive(Default)]
struct Remedy<'a> {
    cuda: Option<&'a str>,
    driver: Option<&'a str>,
    unreadable: bool,
    unknown: bool,
}

impl<'a> Remedy<'a> {
    fn note(&mut self, unmet: &[Unmet<'a>]) {
        for Unmet { term, reason } in unmet {
            if reason.ends_with(NOT_KNOWN) {
                self.unknown = true;
                continue;
            }
            match term.test {
                Test::Cuda(Operator::Greater | Operator::GreaterOrEqual, Version(v)) => {
                    self.cuda = self.cuda.or(Some(v));
                }
                Test::Driver(Operator::Greater | Operator::GreaterOrEqual, Version(v)) => {
                    self.driver = self.driver.or(Some(v));
                }
                Test::Unreadable(_) => self.unreadable = true,
                _ => {}
            }
        }
    }

    fn text(&self) -> String {
        let update = match (self.cuda, self.driver) {
            (Some(v), _) => format!("install a newer driver, one that supports CUDA {v}, "),
            (None, Some(v)) => format!("install a newer driver, {v} or later, "),
            (None, None) => String::new(),
        };
        let correct = match self.unreadable {
            true => "correct the expression, ",
            false => "",
        };
        let ask = match self.unknown {
            true => "let NVML tell it once with oci-gpu refresh, ",
            false => "",
        };
        let anyway = "set NVIDIA_DISABLE_REQUIRE=true in the container to start it all the same";
        match (ask, update.as_str(), correct) {
            ("", "", "") => anyway.to_owned(),
            _ => format!("{ask}{update}{correct}or {anyway}"),
        }
    }
}

#[cfg(test)]
mod tests;
