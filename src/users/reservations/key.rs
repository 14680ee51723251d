//! One value that a command needs for itself: a name, an e-mail address or a phone number.

/// A marker that a command needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::users) struct ReservationKey {
    /// The member at fault when somebody else has it.
    pub field: &'static str,
    /// Its key in the store.
    pub key: String,
    /// Of a name: of the whole body. Of an address or a number: of the name it belongs to.
    pub digest: [u8; 16],
}

impl ReservationKey {
    /// Names are exclusive; addresses and numbers belong to one user, whose commands keep their order.
    pub fn is_name(&self) -> bool {
        self.field == "name"
    }
}
