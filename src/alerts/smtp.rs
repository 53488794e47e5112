//! E-mail, handed to a server by SMTP (RFC 5321) with STARTTLS (RFC 3207), or TLS from the start (RFC 8314).
//!
//! On `smtp:` STARTTLS is required, and a server that does not offer it is told nothing: no mail, no password. Only a
//! server on this machine, or one of which the address says `tls=none`, is spoken to in the open.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use url::Host;

use crate::alert::{Destination, DestinationKind, Event, Message, TellError, Wrong};
use crate::config::Alert;
use crate::context::{Context, host_name, install_crypto};
use crate::store::Target;

/// The line of the list.
pub const KIND: DestinationKind = DestinationKind {
    name: "smtp",
    schemes: &["smtp", "smtps"],
    about: "E-mail by SMTP: with STARTTLS, or with TLS from the start (`smtps:`).",
    example: r#"{ to: "smtp://user:s3cret@mail.example:587", from: tap@example.org, recipients: [me@example.org] }"#,
    keys: &["from", "recipients"],
    options: OPTIONS,
    has_query: false,
    shown,
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("tls", "`required` or `none`; `none` by default for a server on this machine"),
    ("ca", "a file with the certificates to trust, instead of the system's"),
];

/// The ports of submission (RFC 6409, RFC 8314).
const PORT: u16 = 587;
const PORT_TLS: u16 = 465;

/// One step of the protocol.
const STEP_MAX: Duration = Duration::from_secs(15);

/// The codes by which a server says that it is the message that it does not want (RFC 5321, 4.2.3): too large.
const MESSAGE_CODES: &[&str] = &["552"];

/// The codes by which it says that it is one of the recipients (RFC 5321, 4.2.3; RFC 7504).
const RECIPIENT_CODES: &[&str] = &["550", "551", "553", "556"];

type Transport = AsyncSmtpTransport<Tokio1Executor>;

struct Smtp {
    transport: Transport,
    from: Mailbox,
    recipients: Vec<Mailbox>,
}

fn shown(target: &Target) -> String {
    format!("{}://{}", target.scheme(), target.hosts())
}

fn open(alert: &Alert, mut target: Target, _: &Context) -> Result<Box<dyn Destination>, Wrong> {
    let mailbox = |key: &'static str, address: &str| {
        address.parse::<Mailbox>().map_err(|_| (key, anyhow::anyhow!("`{address}` is no e-mail address")))
    };
    let from = alert.from.as_deref().ok_or_else(|| {
        ("from", anyhow::anyhow!("the key is missing; it is the sender's address, such as tap@example.org"))
    })?;
    let from = mailbox("from", from)?;
    if alert.recipients.is_empty() {
        return Err(("recipients", anyhow::anyhow!("the key is missing; who gets the mail? Write [me@example.org]")));
    }
    let recipients: Result<Vec<Mailbox>, Wrong> =
        alert.recipients.iter().map(|address| mailbox("recipients", address)).collect();
    let transport = transport(&mut target).map_err(|why| ("to", why))?;
    Ok(Box::new(Smtp { transport, from, recipients: recipients? }))
}

fn transport(target: &mut Target) -> anyhow::Result<Transport> {
    install_crypto();
    if target.path().len() > 1 {
        anyhow::bail!("an SMTP server has no path; leave `{}` out", target.path());
    }
    let url = target.url("smtp")?;
    let host = url.host().context("the address names no host; write `smtp://HOST`")?;
    let (name, is_local) = match &host {
        // Of a scheme that it does not know the parser takes an address for a name.
        Host::Domain(name) => {
            let address = name.parse::<std::net::IpAddr>();
            ((*name).to_owned(), *name == "localhost" || address.is_ok_and(|address| address.is_loopback()))
        }
        Host::Ipv4(address) => (address.to_string(), address.is_loopback()),
        Host::Ipv6(address) => (address.to_string(), address.is_loopback()),
    };
    let from_the_start = target.scheme() == "smtps";
    let tls = match target.take("tls").as_deref() {
        Some("none") if from_the_start => anyhow::bail!("`smtps:` is TLS from the start; write `smtp:` for `tls=none`"),
        Some("none") => false,
        Some("required") => true,
        None => from_the_start || !is_local,
        Some(other) => anyhow::bail!("`tls={other}` is not known; there are: required, none"),
    };
    let ca = target.take("ca");
    let tls = match (tls, from_the_start) {
        (false, _) => Tls::None,
        (true, false) => Tls::Required(parameters(&name, ca.as_deref())?),
        (true, true) => Tls::Wrapper(parameters(&name, ca.as_deref())?),
    };
    let port = url.port().unwrap_or(if from_the_start { PORT_TLS } else { PORT });
    let mut builder = Transport::builder_dangerous(name).port(port).tls(tls).timeout(Some(STEP_MAX));
    if let Some(hello) = hello_name() {
        builder = builder.hello_name(hello);
    }
    if let Some(user) = target.user() {
        builder = builder.credentials(Credentials::new(user, target.password().unwrap_or_default()));
    }
    Ok(builder.build())
}

/// Whom to trust.
fn parameters(name: &str, ca: Option<&str>) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(name.to_owned());
    if let Some(file) = ca {
        let pem = std::fs::read(file).with_context(|| format!("cannot read ca {file}"))?;
        let certificate = Certificate::from_pem(&pem).with_context(|| format!("ca {file} has no certificate in it"))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().context("cannot set up TLS; is there a certificate store (package ca-certificates)?")
}

/// How we greet: by the machine's name, where that can be one of the net.
fn hello_name() -> Option<ClientId> {
    let name = host_name();
    let is_name = name.bytes().all(|next| next.is_ascii_alphanumeric() || b".-".contains(&next));
    (is_name && !name.is_empty()).then_some(ClientId::Domain(name))
}

#[async_trait]
impl Destination for Smtp {
    async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
        let mail = self.mail(message).map_err(TellError::Refused)?;
        let bytes = mail.formatted();
        let Err(error) = self.transport.send_raw(mail.envelope(), &bytes).await else { return Ok(()) };
        // One recipient whom nobody knows there must not keep it from the others.
        if !has_code(&error, RECIPIENT_CODES) || self.recipients.len() == 1 {
            return Err(sort(&error));
        }
        let mut refused = None;
        let mut told = 0;
        for recipient in &self.recipients {
            let envelope = Envelope::new(Some(self.from.email.clone()), vec![recipient.email.clone()]);
            let envelope = envelope.map_err(|error| TellError::Refused(error.into()))?;
            match self.transport.send_raw(&envelope, &bytes).await {
                Ok(_) => told += 1,
                Err(error) => refused = Some(anyhow::anyhow!("{}: {error}", recipient.email)),
            }
        }
        match refused {
            Some(cause) if told > 0 => Err(TellError::Partly(cause)),
            Some(cause) => Err(TellError::again(cause)),
            None => Ok(()),
        }
    }
}

impl Smtp {
    fn mail(&self, message: &Message) -> anyhow::Result<lettre::Message> {
        let id = |id: &str| format!("<{id}@tapline.invalid>");
        // No answer by machines (RFC 3834).
        let auto = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let mut builder = MessageBuilder::new()
            .from(self.from.clone())
            .subject(format!("[tapline {}] {}", message.from.name, message.title))
            .date(message.at.into())
            .message_id(Some(id(&message.id)))
            .raw_header(auto)
            .header(ContentType::TEXT_PLAIN);
        for recipient in &self.recipients {
            builder = builder.to(recipient.clone());
        }
        // All of an incident's mails are one thread, whichever of them arrives.
        if let Some(incident) = &message.incident
            && message.event != Event::Happened
        {
            builder = builder.references(id(incident)).in_reply_to(id(incident));
        }
        builder.body(format!("{}\n\n{}\n", message.title, message.text)).context("the mail cannot be made")
    }
}

fn has_code(error: &lettre::transport::smtp::Error, codes: &[&str]) -> bool {
    error.status().is_some_and(|code| codes.contains(&code.to_string().as_str()))
}

fn sort(error: &lettre::transport::smtp::Error) -> TellError {
    let cause = anyhow::anyhow!("{error}");
    if has_code(error, MESSAGE_CODES) { TellError::Refused(cause) } else { TellError::again(cause) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(to: &str) -> String {
        let mut target = Target::parse(to, OPTIONS).unwrap();
        transport(&mut target).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn what_cannot_be_an_address() {
        assert_eq!(wrong("smtp://h/path"), "an SMTP server has no path; leave `/path` out");
        assert_eq!(wrong("smtps://h?tls=none"), "`smtps:` is TLS from the start; write `smtp:` for `tls=none`");
        assert_eq!(wrong("smtp://h?tls=maybe"), "`tls=maybe` is not known; there are: required, none");
        assert_eq!(wrong("smtp://h?ca=/gone.pem"), "cannot read ca /gone.pem: No such file or directory (os error 2)");
        for good in
            ["smtp://h", "smtps://h:1", "smtp://[::1]:25", "smtp://127.0.0.1", "smtp://u:p@localhost?tls=required"]
        {
            assert_eq!(wrong(good), "");
        }
    }
}
