//! Test users with unique names, e-mail addresses and phone numbers.

use serde_json::json;

/// The third digits of German mobile numbers that begin with 15. Eight digits follow.
const SERIES: [char; 8] = ['0', '1', '2', '5', '6', '7', '8', '9'];
/// Phone numbers per series.
const PER_SERIES: u64 = 100_000_000;
/// Phone numbers of all series.
const PHONES: u64 = SERIES.len() as u64 * PER_SERIES;

/// The test users of one run.
pub struct TestUsers {
    run: String,
    first_phone: u64,
}

impl TestUsers {
    /// Users whose names begin with `run`. Phone numbers begin at a random one, so that two runs on one database rarely
    /// share one.
    pub fn new(run: &str, random: &mut fastrand::Rng) -> Self {
        Self { run: run.to_owned(), first_phone: random.u64(..PHONES) }
    }

    /// Name of the user with this number.
    pub fn name(&self, number: u64) -> String {
        format!("load-{}-{number}", self.run)
    }

    /// Password of the user with this number. It need not be secret: the users are not real.
    pub fn password(&self, number: u64) -> String {
        format!("load {} horse {number}", self.run)
    }

    /// Body of the registration.
    pub fn registration(&self, number: u64) -> String {
        let name = self.name(number);
        json!({
            "name": name,
            "email": format!("{name}@example.org"),
            "phone": phone(self.first_phone.wrapping_add(number) % PHONES),
            "password": self.password(number),
        })
        .to_string()
    }
}

/// The phone number at this position among those of all series.
fn phone(place: u64) -> String {
    let series = SERIES[(place / PER_SERIES) as usize % SERIES.len()];
    format!("+4915{series}{:08}", place % PER_SERIES)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn phone_numbers_are_unique() {
        let all: HashSet<_> = (0..PHONES).step_by(9_999_991).map(phone).collect();
        assert_eq!(all.len() as u64, PHONES.div_ceil(9_999_991));
        assert_eq!((phone(0), phone(PHONES - 1)), ("+4915000000000".to_owned(), "+4915999999999".to_owned()));
    }
}
