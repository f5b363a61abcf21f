//! The one-time token that lets a host join.

use std::fmt;

use crate::hex;

const PREFIX: &str = "drv1_";

/// `drv1_<id>_<secret>_<sha256 of the CA certificate's DER, hex>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    ca_sha256: Vec<u8>,
}

/// The text is not a join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token: it should read drv1_<id>_<secret>_<64 hexadecimal digits>\n\
     hint: copy the whole token that the controller printed"
)]
pub struct NotAToken;

impl JoinToken {
    /// Reads a token.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).ok_or(NotAToken)?;
        let (credential, digest) = rest.rsplit_once('_').ok_or(NotAToken)?;
        let (id, secret) = credential.split_once('_').ok_or(NotAToken)?;
        let ca_sha256 = hex::decode(digest).filter(|sum| sum.len() == 32).ok_or(NotAToken)?;
        if id.is_empty() || secret.is_empty() {
            return Err(NotAToken);
        }
        Ok(Self { text: text.to_owned(), ca_sha256 })
    }

    /// The token as it is sent to the controller.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of the CA certificate to trust.
    pub fn ca_sha256(&self) -> &[u8] {
        &self.ca_sha256
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_told_from_other_texts() {
        let digest = "ab".repeat(32);
        let good = JoinToken::parse(&format!(" drv1_id_se_cret_{digest}\n")).unwrap();
        assert_eq!(good.ca_sha256(), [0xab; 32]);
        assert!(!good.text().contains(char::is_whitespace));
        assert!(!format!("{good:?}").contains("cret"));
        for bad in [
            "",
            "drv1_",
            "drv1_id_secret",
            &format!("drv2_id_secret_{digest}"),
            &format!("drv1_id_{digest}"),
            &format!("drv1_id_secret_{}", &digest[2..]),
            &format!("drv1__secret_{digest}"),
        ] {
            assert_eq!(JoinToken::parse(bad), Err(NotAToken), "{bad}");
        }
    }
}
