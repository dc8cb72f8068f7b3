//! A plan as text and as JSON: what would be injected, why, and what was refused and why.
