//! Answers that go wrong on the wire, written without the help of an HTTP library.
//!
//! A request that meets such a fault is read by hyper, which then gives the stream back.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::answer::Answer;
use super::faults::Fault;

/// What a server of another protocol would say.
const GARBAGE: &[u8] = b"SSH-2.0-OpenSSH_9.9\r\n";
/// How long the other side has to close after us, before it gets a reset.
const LINGER: Duration = Duration::from_secs(1);

/// A stream over TCP.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&mut self) -> &mut TcpStream;
}

impl Wire for TcpStream {
    fn tcp(&mut self) -> &mut TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn tcp(&mut self) -> &mut TcpStream {
        self.get_mut().0
    }
}

/// Whether a fault is about the bytes of the answer, so that it is for [`play`].
pub fn is_for_the_wire(fault: &Fault) -> bool {
    match fault {
        Fault::Pass | Fault::Answer(_) | Fault::Delay(_) | Fault::Stall | Fault::Truncated => false,
        Fault::Reset
        | Fault::ResetMidBody
        | Fault::CloseMidBody
        | Fault::TlsCut
        | Fault::SlowHeaders(_)
        | Fault::SlowBody { .. }
        | Fault::Garbage
        | Fault::Oversize { .. } => true,
    }
}

/// Sends `answer` with a fault, and ends the connection.
pub async fn play(mut stream: impl Wire, fault: Fault, answer: &Answer) -> io::Result<()> {
    match fault {
        Fault::Reset => return reset(stream),
        Fault::ResetMidBody => {
            half(&mut stream, answer).await?;
            return reset(stream);
        }
        Fault::TlsCut => {
            half(&mut stream, answer).await?;
            stream.tcp().shutdown().await?;
            return drain(stream).await;
        }
        Fault::CloseMidBody => half(&mut stream, answer).await?,
        Fault::Garbage => stream.write_all(GARBAGE).await?,
        Fault::SlowHeaders(pause) => {
            let head = head(answer, &length(answer.body.len()));
            let (status_line, rest) = head.split_at(head.find('\n').map_or(0, |end| end + 1));
            stream.write_all(status_line.as_bytes()).await?;
            stream.flush().await?;
            sleep(pause).await;
            stream.write_all(rest.as_bytes()).await?;
            stream.write_all(&answer.body).await?;
        }
        Fault::SlowBody { chunk, pause } => {
            stream.write_all(head(answer, &length(answer.body.len())).as_bytes()).await?;
            for piece in answer.body.chunks(chunk.max(1)) {
                stream.flush().await?;
                sleep(pause).await;
                stream.write_all(piece).await?;
            }
        }
        Fault::Oversize { bytes, chunked } => oversize(&mut stream, bytes, chunked).await?,
        Fault::Pass | Fault::Answer(_) | Fault::Delay(_) | Fault::Stall | Fault::Truncated => {}
    }
    close(stream).await
}

/// Ends a connection with a reset: closing without lingering throws the connection away.
pub fn reset(mut stream: impl Wire) -> io::Result<()> {
    stream.tcp().set_zero_linger()
}

/// Says what no client expects, in place of a handshake.
pub async fn garbage(mut tcp: TcpStream) -> io::Result<()> {
    tcp.write_all(GARBAGE).await?;
    close(tcp).await
}

/// Ends a connection properly, TLS first.
pub async fn close(mut stream: impl Wire) -> io::Result<()> {
    stream.shutdown().await?;
    drain(stream).await
}

/// Reads what is still to come: closing with unread bytes would be a reset.
async fn drain(mut stream: impl Wire) -> io::Result<()> {
    if let Ok(drained) = timeout(LINGER, copy(stream.tcp(), &mut sink())).await {
        drained?;
    }
    Ok(())
}

/// The head and half of the body. An empty body promises a byte that does not come.
async fn half(stream: &mut impl Wire, answer: &Answer) -> io::Result<()> {
    stream.write_all(head(answer, &length(answer.body.len().max(1))).as_bytes()).await?;
    stream.write_all(&answer.body[..answer.body.len() / 2]).await?;
    stream.flush().await
}

async fn oversize(stream: &mut impl Wire, bytes: usize, chunked: bool) -> io::Result<()> {
    const OPEN: &[u8] = b"{\"filler\":\"";
    const END: &[u8] = b"\"}";
    const FILLER: &[u8] = &[b'a'; 64 * 1024];
    let answer = Answer::empty(200).with("Content-Type", "application/json; charset=utf-8");
    let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { length(bytes) };
    stream.write_all(head(&answer, &framing).as_bytes()).await?;

    let mut filler = bytes.saturating_sub(OPEN.len() + END.len());
    piece(stream, OPEN, chunked).await?;
    while filler > 0 {
        let now = filler.min(FILLER.len());
        piece(stream, &FILLER[..now], chunked).await?;
        filler -= now;
    }
    piece(stream, END, chunked).await?;
    if chunked { stream.write_all(b"0\r\n\r\n").await } else { Ok(()) }
}

async fn piece(stream: &mut impl Wire, bytes: &[u8], chunked: bool) -> io::Result<()> {
    if !chunked {
        return stream.write_all(bytes).await;
    }
    stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes()).await?;
    stream.write_all(bytes).await?;
    stream.write_all(b"\r\n").await
}

fn length(bytes: usize) -> String {
    format!("Content-Length: {bytes}")
}

fn head(answer: &Answer, framing: &str) -> String {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n{framing}\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}
