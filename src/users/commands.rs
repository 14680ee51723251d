//! The four user commands: from the parsed request to the log.
//!
//! A repeated `Idempotency-Key` is answered first; then the checks run. The password is hashed last, after every check
//! that can reject the command.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::admission::Admitted;
use super::form::{NewUser, PasswordChange, UserChange};
use super::reservations::ReservationGuard;
use super::{FieldError, UserError, Users};
use crate::command::{Owner, USER_TOPIC, UserKind, UserValue};
use crate::db::UserRow;
use crate::ingest::{Idempotency, Receipt, Request, Submission, SubmitError};

/// Properties common to all requests.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The client's `Idempotency-Key` with the body it is bound to.
    pub idempotency: Option<Idempotency>,
    /// The authenticated caller; `None` in open mode.
    pub principal: Option<Owner>,
    /// The client's address or network. Hashing is scheduled fairly between clients.
    pub client: IpAddr,
}

impl Users {
    /// Registers a user.
    pub async fn register(&self, user: NewUser, context: RequestContext) -> Result<Receipt, UserError> {
        if let Some(receipt) = self.find_repeat(&context).await? {
            return Ok(receipt);
        }
        let body = self.fingerprint(&user).await;
        let wanted =
            self.reservation_keys(&user.name, Some(body), Some(&user.email), Some(&user.phone)).await;
        let checks = self.check(wanted, &user.name, Some(&user.email), Some(&user.phone), true);
        let reservation = match checks.await? {
            Admitted::New(reservation) => reservation,
            Admitted::Repeat(receipt) => return Ok(receipt),
        };
        let mut value = UserValue {
            name: user.name,
            email: Some(user.email),
            phone: Some(user.phone),
            nickname: user.nickname.map(Some),
            password: Some(user.password),
            ..UserValue::default()
        };
        let sealed = match self.hash_or_defer(&mut value, context.client).await {
            Ok(sealed) => sealed,
            Err(refusal) => {
                reservation.release().await;
                return Err(refusal);
            }
        };
        self.submit_reserved(UserKind::Create, value, sealed, context, reservation).await
    }

    /// Changes e-mail address, phone number or nickname.
    pub async fn update(
        &self,
        name: &str,
        change: UserChange,
        context: RequestContext,
    ) -> Result<Receipt, UserError> {
        if let Some(receipt) = self.find_repeat(&context).await? {
            return Ok(receipt);
        }
        let row = self.require_user(name, &context).await?;
        self.wait_until_newer(&row).await?;
        let wanted =
            self.reservation_keys(name, None, change.email.as_deref(), change.phone.as_deref()).await;
        let checks = self.check(wanted, name, change.email.as_deref(), change.phone.as_deref(), false);
        let reservation = match checks.await? {
            Admitted::New(reservation) => reservation,
            Admitted::Repeat(receipt) => return Ok(receipt),
        };
        let value = UserValue {
            name: name.to_owned(),
            email: change.email,
            phone: change.phone,
            nickname: change.nickname,
            ..UserValue::default()
        };
        self.submit_reserved(UserKind::Update, value, false, context, reservation).await
    }

    /// Sets a new password. `trusted`: the caller need not know the old password.
    pub async fn set_password(
        &self,
        name: &str,
        change: PasswordChange,
        trusted: bool,
        context: RequestContext,
    ) -> Result<Receipt, UserError> {
        if let Some(receipt) = self.find_repeat(&context).await? {
            return Ok(receipt);
        }
        let row = self.require_user(name, &context).await?;
        self.wait_until_newer(&row).await?;
        match change.old {
            Some(old) => self.verify(row, old, context.client).await?,
            None if trusted => {}
            None => {
                let why = "is required, unless an administrator changes the password";
                return Err(UserError::Invalid(vec![FieldError::new("old_password", why)]));
            }
        }
        let mut value =
            UserValue { name: name.to_owned(), password: Some(change.new), ..UserValue::default() };
        let sealed = self.hash_or_defer(&mut value, context.client).await?;
        self.submit(UserKind::Password, value, sealed, context).await
    }

    /// Deletes a user. Deleting a user that no longer exists is accepted.
    pub async fn delete(&self, name: &str, context: RequestContext) -> Result<Receipt, UserError> {
        if let Some(receipt) = self.find_repeat(&context).await? {
            return Ok(receipt);
        }
        self.wait_until_newer_than_registration(name).await?;
        let value = UserValue { name: name.to_owned(), ..UserValue::default() };
        self.submit(UserKind::Delete, value, false, context).await
    }

    /// The receipt of an earlier request with the same `Idempotency-Key`.
    async fn find_repeat(&self, context: &RequestContext) -> Result<Option<Receipt>, UserError> {
        if context.idempotency.is_none() {
            return Ok(None);
        }
        let RequestContext { traceparent, idempotency, principal, .. } = context.clone();
        let request = Request { commands: Vec::new(), traceparent, idempotency, principal };
        let _step = self.step("users.recognise");
        Ok(self.ingest.find_repeat(&request).await?)
    }

    /// The user's row; `None` while only a registration is pending. Fails if the user is unknown, or if the caller's
    /// own account with that name was deleted.
    async fn require_user(&self, name: &str, context: &RequestContext) -> Result<Option<UserRow>, UserError> {
        let _step = self.step("users.exists");
        // Read from the database, not the cache: a deleted user must not be changed.
        let caller = context.principal.as_ref();
        if let Some(row) = self.profiles.fetch(name).await? {
            return match caller.is_none_or(|caller| caller.may_be(name, row.created_at)) {
                true => Ok(Some(row)),
                false => Err(UserError::FormerUser),
            };
        }
        // The caller was registered under this name and had a row. A pending registration belongs to another user.
        if caller.is_some_and(|caller| *caller.name == *name && caller.registered_at.is_some()) {
            return Err(UserError::FormerUser);
        }
        match self.reservations.is_pending(name).await {
            Ok(true) => Ok(None),
            Ok(false) => Err(UserError::NotFound),
            Err(_) => Err(UserError::ReservationStore),
        }
    }

    async fn submit_reserved(
        &self,
        kind: UserKind,
        mut value: UserValue,
        sealed: bool,
        context: RequestContext,
        reservation: ReservationGuard,
    ) -> Result<Receipt, UserError> {
        value.claim = Some(data_encoding::HEXLOWER.encode(&reservation.claim));
        let request = self.request(kind, value, sealed, context, Some(&reservation));
        // Runs to completion even if the client disconnects, because the reservations depend on the result.
        let logged = self.tasks.begin(reservation.submit(self.ingest.clone(), request, self.steps.clone()));
        // Only a panic ends it without a result.
        self.on_submitted(logged.await.unwrap_or(Err(SubmitError::Poisoned)))
    }

    async fn submit(
        &self,
        kind: UserKind,
        value: UserValue,
        sealed: bool,
        context: RequestContext,
    ) -> Result<Receipt, UserError> {
        let request = self.request(kind, value, sealed, context, None);
        let _step = self.step("users.log");
        self.on_submitted(self.ingest.submit(request).await)
    }

    fn on_submitted(&self, submitted: Result<Receipt, SubmitError>) -> Result<Receipt, UserError> {
        let receipt = submitted?;
        if let Some(id) = receipt.ids.first().filter(|_| !receipt.replayed) {
            self.unapplied.on_accepted(*id);
        }
        Ok(receipt)
    }

    fn request(
        &self,
        kind: UserKind,
        mut value: UserValue,
        sealed: bool,
        context: RequestContext,
        reservation: Option<&ReservationGuard>,
    ) -> Request {
        value.actor = context.principal.as_ref().map(|owner| owner.name.to_string());
        let name = reservation.and_then(|reservation| reservation.keys.iter().find(|one| one.is_name()));
        let command = Submission {
            kind: Arc::clone(&self.kinds[kind as usize]),
            topic: Arc::from(USER_TOPIC),
            key: Some(Bytes::from(value.name.clone())),
            content_type: Arc::clone(&self.json),
            claim: reservation.map(|reservation| reservation.claim),
            fingerprint: name.map(|one| one.digest),
            sealed,
            headers: Bytes::new(),
            no_value: false,
            value: Bytes::copy_from_slice(&value.to_bytes()),
        };
        let RequestContext { traceparent, idempotency, principal, .. } = context;
        Request { commands: vec![command], traceparent, idempotency, principal }
    }

    /// Digest that distinguishes a repetition of a registration from another request for the same name.
    async fn fingerprint(&self, user: &NewUser) -> [u8; 16] {
        let nickname = user.nickname.as_deref().unwrap_or_default();
        let password = user.password.expose();
        let parts = [&user.name, &user.email, &user.phone, nickname, password].map(str::as_bytes);
        self.digest(&[&[b"body".as_slice()], &parts[..]].concat()).await
    }
}
