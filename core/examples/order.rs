//! The life of an order: `order ORDER_ID`, for an order over 100.00.
//!
//! The order leaves in two parcels, gets a tracking number, one thing comes back, and the rest is released. Each step
//! has a name, so a second run moves no more money. The account comes from the environment: see [`Config::from_env`].
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::process::ExitCode;

use takings::{
    CaptureRequest, Client, Config, Error, RefundRequest, ShippingInfo, idempotency_key, idempotency_key_for,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [order_id] = &arguments[..] else {
        eprintln!("usage: order ORDER_ID");
        return ExitCode::FAILURE;
    };
    match live(order_id) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn live(order_id: &str) -> Result<(), Error> {
    let client = Client::new(Config::from_env()?)?;
    let mut captured = Vec::new();
    for (parcel, amount) in [("parcel-1", 6000), ("parcel-2", 2500)] {
        let mut request = CaptureRequest::new(amount);
        request.reference = Some(parcel.into());
        let capture = client.capture(order_id, &request, Some(&idempotency_key(order_id, parcel)?))?;
        println!("captured {} {}", capture.capture_id(), capture.attempts());
        captured.push(capture.capture_id().to_owned());
    }

    // The carrier's number comes later than the parcel's capture.
    let first = &captured[0];
    let key = idempotency_key_for("append_shipping_info", order_id, Some(first), "parcel-1")?;
    let parcel = ShippingInfo::tracked("DHL", "JD014600");
    let tracked = client.append_shipping_info(order_id, first, &[parcel], Some(&key))?;
    println!("tracked {first} {}", tracked.attempts());

    let mut request = RefundRequest::new(2500);
    request.reference = Some("return-1".into());
    let key = idempotency_key_for("refund", order_id, None, "return-1")?;
    let refund = client.refund(order_id, &request, Some(&key))?;
    println!("refunded {} {}", refund.refund_id().unwrap_or_default(), refund.attempts());

    // The order is over, so the customer gets back what is still reserved.
    let key = idempotency_key_for("release_remaining_authorization", order_id, None, "end")?;
    let released = client.release_remaining_authorization(order_id, Some(&key))?;
    println!("released {order_id} {}", released.attempts());
    Ok(())
}
