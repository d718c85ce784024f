/*
 * Captures an order from C++.
 *
 *     capture ORDER_ID [FILE [KEY]]
 *
 * FILE holds Klarna's request as JSON; without one, the sample below is captured: one order line
 * and one parcel, as typed structs. The account comes from KLARNA_USERNAME, KLARNA_PASSWORD and
 * KLARNA_ENVIRONMENT, or the other variables that takings_client_from_env names. Without KEY a
 * key is derived from the order and the name "parcel-1", so that a second run gets the first run's
 * capture.
 */
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "takings.hpp"

static takings::capture_request sample() {
    takings::order_line line("Tomatoes", 10, 600, 6000); // name, quantity, unit_price, total_amount
    line.type = "physical";
    line.reference = "123050";
    line.quantity_unit = "kg";
    line.tax_rate = 2500; // 25 %
    line.total_tax_amount = 1200;

    takings::shipping_info parcel;
    parcel.shipping_company = "DHL US";
    parcel.shipping_method = "Home";
    parcel.tracking_number = "63456415674545679874";

    takings::capture_request request(6000); // 60.00 in the order's currency
    request.reference = "c9a94cf1-7126-4f55-92fa-4d34f416ed7f";
    request.description = "Shipped the full order";
    request.order_lines = {line};
    request.shipping_info = {parcel};
    return request;
}

int main(int count, char **arguments) {
    if (count < 2 || count > 4) {
        std::cerr << "usage: " << arguments[0] << " ORDER_ID [FILE [KEY]]\n";
        return 2;
    }
    const std::string order_id = arguments[1];
    std::string json;
    if (count > 2) {
        std::ifstream file(arguments[2], std::ios::binary);
        json.assign(std::istreambuf_iterator<char>(file), {});
        if (!file) {
            std::cerr << arguments[2] << " cannot be read\n";
            return 1;
        }
    }

    try {
        const takings::client client = takings::client::from_env();
        const std::string key = count > 3 ? arguments[3] : takings::idempotency_key(order_id, "parcel-1");
        const takings::capture capture =
            count > 2 ? client.capture(order_id, json, key) : client.capture(order_id, sample(), key);
        std::cout << "capture " << capture.capture_id << "\nkey " << capture.idempotency_key << '\n';
        for (const std::string &warning : capture.warnings) {
            std::cerr << "warning: " << warning << '\n';
        }
        return 0;
    } catch (const takings::outcome_unknown &error) {
        std::cerr << error.kind_name() << ": " << error.what() << "\nrun it again with the key "
                  << error.idempotency_key().value_or("") << '\n';
    } catch (const takings::error &error) {
        std::cerr << error.kind_name() << ": " << error.what() << '\n';
    }
    return 1;
}
