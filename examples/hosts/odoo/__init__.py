from . import stock_picking as stock_picking
