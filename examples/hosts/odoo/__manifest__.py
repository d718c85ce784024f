# ruff: noqa: B018
{
    "name": "Klarna captures",
    "version": "1.0",
    "license": "LGPL-3",
    "depends": ["sale_stock"],
    "external_dependencies": {"python": ["takings"]},
    "data": ["cron.xml"],
}
