//! The key of one reservation: a name, an e-mail address or a phone number.

/// A reservation that a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::users) struct ReservationKey {
    /// The field that is reported if another user has the value.
    pub field: &'static str,
    /// Key in the store.
    pub key: String,
    /// For a name: digest of the whole body. For an address or number: digest of the user's name.
    pub digest: [u8; 16],
}

impl ReservationKey {
    /// Whether this is a name. Names are exclusive. Addresses and numbers belong to one user, whose commands keep their
    /// order.
    pub fn is_name(&self) -> bool {
        self.field == "name"
    }
}
