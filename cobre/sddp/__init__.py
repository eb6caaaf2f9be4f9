"""cobre.sddp"""
