//! The weights of operations.

use std::str::FromStr;

/// Names with weights, such as `register=1,login=2,read=7`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(pub Vec<(String, u32)>);

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts: Vec<(String, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) =
                part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=WEIGHT"))?;
            let weight = weight.trim().parse().ok().filter(|weight| *weight <= 1_000_000);
            let weight =
                weight.ok_or_else(|| format!("{part:?}: a weight is a whole number up to 1000000"))?;
            let name = name.trim().to_owned();
            if parts.iter().any(|(other, _)| *other == name) {
                return Err(format!("{name} occurs twice"));
            }
            parts.push((name, weight));
        }
        parts.retain(|(_, weight)| *weight > 0);
        if parts.is_empty() {
            return Err("at least one weight must be above 0".to_owned());
        }
        Ok(Self(parts))
    }
}

impl Mix {
    /// The index of an operation, chosen at random by weight.
    pub fn choose(&self, random: &mut fastrand::Rng) -> usize {
        if self.0.len() == 1 {
            return 0;
        }
        let total: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = random.u64(..total);
        for (index, (_, weight)) in self.0.iter().enumerate() {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return index,
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_chosen_by_weight() {
        let mix: Mix = "register=1,login=0,read=3".parse().unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        let reads = (0..10_000).filter(|_| mix.choose(&mut random) == 1).count();
        assert!((7_200..7_800).contains(&reads), "{reads}");
        for wrong in ["", "read", "read=-1", "read=0", "read=1,read=2"] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
    }
}
