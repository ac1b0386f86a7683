def check_zero(op, call, device):
    x = op.inputs(op.cases[0], device)["x"].zero_()
    return None if bool((call(x) == 1).all()) else "0 does not give 1"


CONTRACT_CHECKS = {"zero gives one": check_zero}
