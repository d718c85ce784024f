/*
 * The life of an order: order ORDER_ID, for an order over 100.00.
 *
 * The order leaves in two parcels, gets a tracking number, one thing comes back, and the rest is
 * released. Each step has a name, so a second run moves no more money. The account comes from the
 * environment: see takings_client_from_env.
 */
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "takings.hpp"

static void live(const takings::client &client, const std::string &order_id) {
    std::vector<std::string> captured;
    for (const auto &[parcel, amount] :
         std::vector<std::pair<std::string, std::int64_t>>{{"parcel-1", 6000}, {"parcel-2", 2500}}) {
        takings::capture_request request(amount);
        request.reference = parcel;
        const auto capture = client.capture(order_id, request, takings::idempotency_key(order_id, parcel));
        captured.push_back(capture.capture_id);
        std::cout << "captured " << capture.capture_id << ' ' << capture.attempts << '\n';
    }

    /* The carrier's number comes later than the parcel's capture. */
    takings::shipping_info parcel;
    parcel.shipping_company = "DHL";
    parcel.tracking_number = "JD014600";
    const auto tracked = client.append_shipping_info(
        order_id, takings::capture_shipping_request(captured[0], {parcel}),
        takings::idempotency_key(order_id, "parcel-1", "append_shipping_info", captured[0]));
    std::cout << "tracked " << captured[0] << ' ' << tracked.attempts << '\n';

    takings::refund_request request(2500);
    request.reference = "return-1";
    const auto refund = client.refund(order_id, request, takings::idempotency_key(order_id, "return-1", "refund"));
    std::cout << "refunded " << refund.refund_id.value_or("") << ' ' << refund.attempts << '\n';

    /* The order is over, so the customer gets back what is still reserved. */
    const auto released = client.release_remaining_authorization(
        order_id, takings::idempotency_key(order_id, "end", "release_remaining_authorization"));
    std::cout << "released " << order_id << ' ' << released.attempts << '\n';
}

int main(int count, char **arguments) {
    if (count != 2) {
        std::cerr << "usage: " << arguments[0] << " ORDER_ID\n";
        return 2;
    }
    try {
        live(takings::client::from_env(), arguments[1]);
        return 0;
    } catch (const takings::error &error) {
        std::cerr << error.kind_name() << ": " << error.what() << '\n';
    }
    return 1;
}
