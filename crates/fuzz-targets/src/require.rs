//! Requirement expressions (`NVIDIA_REQUIRE_*`).

use oci_gpu::finding::Code;
use oci_gpu::request::Requirement;
use oci_gpu::request::require::{
    DeviceTraits, EXPRESSION_LIMIT, RequireFacts, TERM_LIMIT, check as held,
};

use crate::findings::presentable;

/// Each line is an expression. It holds where a second reading of the grammar says so, and is
/// refused with a presentable finding otherwise.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let requirement = |(number, line): (usize, &str)| Requirement {
        name: format!("NVIDIA_REQUIRE_{number}"),
        expression: line.to_owned(),
    };
    let requirements: Vec<Requirement> = text.lines().enumerate().map(requirement).collect();
    let gpus = [gpu(0, Some((9, 0)), Some("Tesla")), gpu(1, None, None)];
    for (driver, cuda, devices) in [
        ("550.163.01", Some((12, 4)), &gpus[..1]),
        ("390.157", None, &gpus[..]),
        ("no version", Some((0, 0)), &[]),
    ] {
        let facts = RequireFacts {
            driver,
            cuda,
            devices,
        };
        let expected = requirements
            .iter()
            .all(|r| within_limits(&r.expression) && holds(&r.expression, &facts));
        let result = held(&requirements, &facts);
        assert_eq!(result.is_ok(), expected, "{result:?}");
        if let Err(finding) = result {
            assert_eq!(finding.code, Code::Requirement);
            presentable(&finding);
        }
    }
}

fn gpu(index: u32, arch: Option<(u32, u32)>, brand: Option<&str>) -> DeviceTraits {
    DeviceTraits {
        index,
        arch,
        brand: brand.map(str::to_owned),
    }
}

fn alternatives(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|c: char| c.is_ascii_whitespace())
        .filter(|a| !a.is_empty())
}

fn within_limits(expression: &str) -> bool {
    let terms = alternatives(expression).map(|a| 1 + a.matches(',').count());
    expression.len() <= EXPRESSION_LIMIT && terms.sum::<usize>() <= TERM_LIMIT
}

fn holds(expression: &str, facts: &RequireFacts<'_>) -> bool {
    let for_device = |device: Option<&DeviceTraits>| {
        let all = |a: &str| a.split(',').all(|term| term_holds(term, facts, device));
        alternatives(expression).any(all)
    };
    alternatives(expression).next().is_none()
        || match facts.devices {
            [] => for_device(None),
            some => some.iter().all(|device| for_device(Some(device))),
        }
}

fn term_holds(term: &str, facts: &RequireFacts<'_>, device: Option<&DeviceTraits>) -> bool {
    let Some(at) = term.find(['<', '>', '=', '!']) else {
        return false;
    };
    let (name, rest) = term.split_at(at);
    let length = rest.len() - rest.trim_start_matches(['<', '>', '=', '!']).len();
    let (operator, value) = rest.split_at(length);
    if !["=", "!=", "<", "<=", ">", ">="].contains(&operator) {
        return false;
    }
    if name == "brand" {
        let readable = matches!(operator, "=" | "!=") && !value.is_empty();
        let is = device.map(|d| d.brand.as_deref().map(str::to_ascii_lowercase));
        let equal = Some(value.to_ascii_lowercase());
        return readable
            && match is {
                None => true,
                Some(None) => false,
                Some(brand) => (brand == equal) == (operator == "="),
            };
    }
    let pair = |(major, minor): (u32, u32)| format!("{major}.{minor}");
    let is = match (name, device) {
        ("cuda", _) => facts.cuda.map(pair),
        ("driver", _) => Some(facts.driver.to_owned()),
        ("arch", None) => return numbers(value).is_some(),
        ("arch", Some(device)) => device.arch.map(pair),
        _ => None,
    };
    let (Some(is), Some(wanted)) = (is.as_deref().and_then(numbers), numbers(value)) else {
        return false;
    };
    match operator {
        "=" => is == wanted,
        "!=" => is != wanted,
        "<" => is < wanted,
        "<=" => is <= wanted,
        ">" => is > wanted,
        _ => is >= wanted,
    }
}

/// A version's numbers without the zeros at its end, so that lists compare as versions do.
fn numbers(version: &str) -> Option<Vec<u64>> {
    let number = |n: &str| {
        let digits = !n.is_empty() && n.chars().all(|c| c.is_ascii_digit());
        n.parse().ok().filter(|_| digits)
    };
    let mut numbers: Vec<u64> = version.split('.').map(number).collect::<Option<_>>()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}
