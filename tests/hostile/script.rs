//! The script of a hostile server, as a case spells it.

use std::path::PathBuf;

use serde::Deserialize;

use super::certificates::Kind;

/// The behaviour of a server, connection by connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// The URL begins with `https`.
    pub https: bool,
    /// The first connections, in the order in which they are accepted.
    pub connections: Vec<Vec<Step>>,
    /// The steps of all later connections; when absent, an honest relay to the sandbox.
    pub others: Option<Vec<Step>>,
    /// The queue of connections is full from the start: nobody is accepted, and nobody refused.
    pub full: bool,
    /// The bytes that the system keeps of what the server does not read; its own number, when absent.
    pub receive_buffer: Option<usize>,
    /// The steps of each connection of a proxy; without them there is none.
    pub proxy: Option<Vec<Step>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Step {
    /// A TLS handshake; all later steps use TLS.
    Handshake(Kind),
    Read(Amount),
    /// Hands the request to the sandbox, which may commit it, and keeps the answer.
    Forward,
    /// Sends the answer kept by `forward`.
    Answer,
    Send(Pieces),
    /// Sends byte by byte.
    Trickle {
        text: Pieces,
        pause_ms: u64,
    },
    /// Sends the same over and over, until the client leaves.
    Flood {
        text: Pieces,
        #[serde(default)]
        pause_ms: u64,
    },
    WaitMs(u64),
    /// Sends no more, still reads.
    HalfClose,
    /// An announced end (over TLS: `close_notify`).
    Close,
    /// An unannounced end, over TLS without `close_notify`.
    Drop,
    Reset,
    /// Stays silent until the client leaves.
    Stall,
    /// Reads nothing more and sends nothing, until the server ends.
    Deaf,
    /// Repeats these steps until the client leaves.
    Forever(Vec<Step>),
    /// Serves request after request from the sandbox.
    Relay,
    /// A step of a proxy: reads a CONNECT, agrees, and passes everything to the server, whatever host was named.
    Tunnel,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount {
    /// At least one byte.
    Byte,
    /// A head, up to its empty line.
    Head,
    /// A request with its body, which is recorded.
    Request,
}

/// Bytes. Each character is one byte (Latin-1). `{authorization}`, `{token}`, `{key}` and `{order_id}` are those of the
/// request, and `{number}` is its number among all of the server. `{capture_id}` is the id in the kept answer.
/// `{elsewhere}` is an address where nothing must ever arrive.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Pieces {
    One(Piece),
    Many(Vec<Piece>),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Piece {
    Text(String),
    Repeated(Repeated),
    /// The bytes of a file as they are, for long texts.
    File(Contents),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeated {
    pub repeat: String,
    pub times: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    pub file: PathBuf,
}

impl Pieces {
    /// The bytes, in which `fill` replaces the names in braces.
    pub fn bytes(&self, fill: impl Fn(&str) -> String) -> Vec<u8> {
        let pieces = match self {
            Pieces::One(piece) => std::slice::from_ref(piece),
            Pieces::Many(pieces) => pieces,
        };
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => bytes.extend(latin1(&fill(text))),
                Piece::Repeated(Repeated { repeat, times }) => bytes.extend(latin1(&fill(repeat)).repeat(*times)),
                Piece::File(Contents { file }) => {
                    bytes.extend(std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
                }
            }
        }
        bytes
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or_else(|_| panic!("{c:?} is no byte"))).collect()
}
