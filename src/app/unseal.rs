//! The drain's hook for sealed records, filled with the user service's hashing.

use crate::command::Envelope;
use crate::drain::Answer;
use crate::drain::Prepare;
use crate::users::Unopened;
use crate::users::Unsealer;

/// Makes the values of sealed records.
pub(super) struct Unseal(pub(super) Unsealer);

impl Prepare for Unseal {
    fn prepare(&self, envelope: &Envelope<'_>, answer: Answer) {
        self.0.open(envelope, move |made| match made {
            Ok(value) => answer.value(value.to_vec()),
            Err(Unopened::Never(reason)) => answer.dead(reason),
            // Without a word: asked for again.
            Err(Unopened::NotNow) => drop(answer),
        });
    }
}
